/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef INTROSPECT_SPAWN_H
#define INTROSPECT_SPAWN_H
/*
 * spawn.h - worker processes that are not copies of this one, but new: the start method "spawn" of
 * Python's multiprocessing.
 *
 *	static int square(struct intro_call *call) { ... }
 *
 *	int main(int argc, char **argv)
 *	{
 *		intro_function_register("square", square);
 *		intro_process_main(argc, argv);	// a worker does not return from here
 *		...
 *		pool = intro_process_executor_new(&(struct intro_executor_options){
 *			.size = sizeof(struct intro_executor_options),
 *			.start_method = INTRO_START_SPAWN});
 *
 * A spawned worker is this program, executed again (/proc/self/exe): it has none of this process's
 * memory, threads and locks, and of its descriptors only 0, 1 and 2, its own, and that of the marks
 * (area.h), so a worker that is started late is as clean as the first. It has its environment and
 * working directory. To start it takes longer than a fork.
 *
 * How a worker is told that it is one: its arguments are those of no other program,
 *	argv[1] = INTRO_SPAWN_ARGUMENT, argv[2] = "MEMORY,BELL"
 * the numbers of two descriptors: the memory that it shares with its pool, in which it finds all
 * else, and a socket. The environment variable INTRO_AREA_ENV holds
 * the number of the descriptor of the area of marks, for programs that it executes in turn, too.
 *
 * Functions are known by name in both processes, since the same function may be at another address
 * there. What main does before intro_process_main, and what constructors do, workers do as well.
 */
#include <introspect/executor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define INTRO_SPAWN_ARGUMENT "--introspect-worker"

/*
 * `fn` may be a task's function, or an initializer, in spawned workers. Twice the same is fine. 0;
 * -EINVAL: no name, no function, a name that begins with "introspect:"; -EEXIST: the name
 * is another function's, or (one in billions) its number is another name's; -ENOSPC: there are
 * 1024. Thread-safe. The name is not copied. Before intro_process_main, or workers do not know it.
 */
int intro_function_register(const char *name, intro_task_fn fn);

/*
 * Returns at once in a program that was started in any other way; in a spawned worker never. Until
 * it was called no pool can spawn: their workers would start the whole program once more.
 */
void intro_process_main(int argc, char **argv);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
