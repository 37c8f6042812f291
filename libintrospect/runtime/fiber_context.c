/* SPDX-License-Identifier: BSD-2-Clause */
/* fiber_context.c - see fiber_context.h. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fiber_context.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#ifndef INTRO_FIBER_UCONTEXT
/* Saves what a function must keep on the old stack, and loads it from the new one. */
void intro__context_swap(void **save_sp, void *to_sp);
void intro__context_enter(void);

#if defined(__x86_64__)
/* mxcsr and the x87 control word are a function's to keep, too. */
__asm__(".text\n"
	".p2align 4\n"
	".globl intro__context_swap\n"
	".hidden intro__context_swap\n"
	".type intro__context_swap, @function\n"
	"intro__context_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	subq $8, %rsp\n"
	"	stmxcsr (%rsp)\n"
	"	fnstcw 4(%rsp)\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	ldmxcsr (%rsp)\n"
	"	fldcw 4(%rsp)\n"
	"	addq $8, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size intro__context_swap, .-intro__context_swap\n"
	".p2align 4\n"
	".globl intro__context_enter\n"
	".hidden intro__context_enter\n"
	".type intro__context_enter, @function\n"
	"intro__context_enter:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n" /* the end of every backtrace */
	"	movq %r12, %rdi\n"
	"	callq *%r13\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size intro__context_enter, .-intro__context_enter\n");

static void *first_frame(char *top, void (*entry)(void *arg), void *arg)
{
	/* from the lowest: control words, r15 .. r12, rbx, rbp, where to return to */
	void **frame = (void **)(top - 16 * sizeof(void *));
	uint32_t words[2] = {0, 0};

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(words[0]), "=m"(words[1]));
	memset(frame, 0, 16 * sizeof(void *));
	memcpy(&frame[0], words, sizeof(words));
	frame[3] = (void *)(uintptr_t)entry;
	frame[4] = arg;
	frame[7] = (void *)(uintptr_t)intro__context_enter;
	return frame;
}
#else
__asm__(".text\n"
	".p2align 4\n"
	".globl intro__context_swap\n"
	".hidden intro__context_swap\n"
	".type intro__context_swap, %function\n"
	"intro__context_swap:\n"
	"	sub sp, sp, #160\n"
	"	stp x19, x20, [sp, #0]\n"
	"	stp x21, x22, [sp, #16]\n"
	"	stp x23, x24, [sp, #32]\n"
	"	stp x25, x26, [sp, #48]\n"
	"	stp x27, x28, [sp, #64]\n"
	"	stp x29, x30, [sp, #80]\n"
	"	stp d8, d9, [sp, #96]\n"
	"	stp d10, d11, [sp, #112]\n"
	"	stp d12, d13, [sp, #128]\n"
	"	stp d14, d15, [sp, #144]\n"
	"	mov x2, sp\n"
	"	str x2, [x0]\n"
	"	mov sp, x1\n"
	"	ldp x19, x20, [sp, #0]\n"
	"	ldp x21, x22, [sp, #16]\n"
	"	ldp x23, x24, [sp, #32]\n"
	"	ldp x25, x26, [sp, #48]\n"
	"	ldp x27, x28, [sp, #64]\n"
	"	ldp x29, x30, [sp, #80]\n"
	"	ldp d8, d9, [sp, #96]\n"
	"	ldp d10, d11, [sp, #112]\n"
	"	ldp d12, d13, [sp, #128]\n"
	"	ldp d14, d15, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	".size intro__context_swap, .-intro__context_swap\n"
	".p2align 4\n"
	".globl intro__context_enter\n"
	".hidden intro__context_enter\n"
	".type intro__context_enter, %function\n"
	"intro__context_enter:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined x30\n"
	"	mov x0, x19\n"
	"	blr x20\n"
	"	brk #0\n"
	"	.cfi_endproc\n"
	".size intro__context_enter, .-intro__context_enter\n");

static void *first_frame(char *top, void (*entry)(void *arg), void *arg)
{
	void **frame = (void **)(top - 160);

	memset(frame, 0, 160);
	frame[0] = arg;
	frame[1] = (void *)(uintptr_t)entry;
	frame[11] = (void *)(uintptr_t)intro__context_enter;
	return frame;
}
#endif
#endif

/*
 * The first thing in a context that was just switched to. Inline, as leaving: a call that is
 * entered in one context and left in another confuses ThreadSanitizer.
 */
static inline __attribute__((always_inline)) void arrived(struct context *context)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_finish_switch_fiber(context->fake, NULL, NULL);
#endif
}

static inline __attribute__((always_inline)) void leaving(struct context *from, struct context *to,
							  bool last)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->stack, to->size);
#endif
#ifdef __SANITIZE_THREAD__
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
}

/* What a new context is to do, at the top of its stack. */
struct start {
	struct context *context;
	void (*entry)(void *arg);
	void *arg;
};

static void start_here(void *at)
{
	struct start start = *(struct start *)at;

	arrived(start.context);
	start.entry(start.arg);
	abort();
}

#ifdef INTRO_FIBER_UCONTEXT
/* makecontext hands over ints. */
static void start_halves(unsigned high, unsigned low)
{
	start_here((void *)((uintptr_t)high << 16 << 16 | low));
}
#endif

void intro__context_self(struct context *context)
{
	pthread_attr_t attr;

	memset(context, 0, sizeof(*context));
	if (!pthread_getattr_np(pthread_self(), &attr)) {
		pthread_attr_getstack(&attr, &context->stack, &context->size);
		pthread_attr_destroy(&attr);
	}
#ifdef __SANITIZE_THREAD__
	context->tsan = __tsan_get_current_fiber();
#endif
}

void intro__context_make(struct context *context, void *stack, size_t size,
			 void (*entry)(void *arg), void *arg)
{
	char *top = (char *)(((uintptr_t)stack + size) & ~(uintptr_t)63);
	struct start *start;

	memset(context, 0, sizeof(*context));
	context->stack = stack;
	context->size = size;
#ifdef __SANITIZE_ADDRESS__
	/* whoever had it before left frames that never returned */
	__asan_unpoison_memory_region(stack, size);
#endif
#ifdef __SANITIZE_THREAD__
	context->tsan = __tsan_create_fiber(0);
#endif
	top -= 64;
	start = (struct start *)(void *)top;
	*start = (struct start){context, entry, arg};
#ifdef INTRO_FIBER_UCONTEXT
	getcontext(&context->registers);
	context->registers.uc_stack.ss_sp = stack;
	context->registers.uc_stack.ss_size = (size_t)(top - (char *)stack);
	context->registers.uc_link = NULL;
	makecontext(&context->registers, (void (*)(void))start_halves, 2,
		    (unsigned)((uintptr_t)start >> 16 >> 16), (unsigned)(uintptr_t)start);
#else
	context->sp = first_frame(top, start_here, start);
#endif
}

void intro__context_switch(struct context *from, struct context *to, bool last)
{
	leaving(from, to, last);
#ifdef INTRO_FIBER_UCONTEXT
	swapcontext(&from->registers, &to->registers);
#else
	intro__context_swap(&from->sp, to->sp);
#endif
	arrived(from);
}

void intro__context_return(struct context *context)
{
#ifdef __SANITIZE_ADDRESS__
	__sanitizer_start_switch_fiber(NULL, context->stack, context->size);
#endif
#ifdef __SANITIZE_THREAD__
	__tsan_switch_to_fiber(context->tsan, 0);
#endif
	arrived(context);
}

void intro__context_end(struct context *context)
{
#ifdef __SANITIZE_THREAD__
	__tsan_destroy_fiber(context->tsan);
#endif
	context->tsan = NULL;
}
