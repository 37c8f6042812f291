/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTRO_RUNTIME_FIBER_CONTEXT_H
#define INTRO_RUNTIME_FIBER_CONTEXT_H
/*
 * fiber_context.h - a place to run: a stack and the registers that a function must keep. Own code
 * on x86-64 and arm64, where a switch costs a few ns; elsewhere (or with INTRO_FIBER_UCONTEXT)
 * ucontext, whose switch is a system call. Both sanitizers are told of each switch.
 */
#include <stdbool.h>
#include <stddef.h>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(INTRO_FIBER_UCONTEXT)
#define INTRO_FIBER_UCONTEXT
#endif

#ifdef INTRO_FIBER_UCONTEXT
#include <ucontext.h>
#endif

struct context {
#ifdef INTRO_FIBER_UCONTEXT
	ucontext_t registers;
#else
	void *sp;
#endif
	void *stack; /* lowest byte */
	size_t size;
	void *fake, *tsan; /* the sanitizers' */
};

/* The calling thread's own. */
void intro__context_self(struct context *context);
/* One that enters `entry(arg)` on the stack when first switched to; entry must never return. */
void intro__context_make(struct context *context, void *stack, size_t size,
			 void (*entry)(void *arg), void *arg);
/* Goes on in `to`, and comes back when somebody switches to `from`; last: nobody will. */
void intro__context_switch(struct context *from, struct context *to, bool last);
/* The thread has come back to its own stack in another way, and will not go on where it left. */
void intro__context_return(struct context *context);
/* Nobody will switch to it again. Not the one in use. */
void intro__context_end(struct context *context);

#endif
