/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each construct does when memory or descriptors run out: each allocation fails in its turn,
 * once, or with all that come after it; and each number of descriptors is the most there may be.
 * Whatever gets an error says so; nothing hangs, nothing is left. Without a sanitizer: they have
 * allocators of their own.
 */
#include "rt_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <introspect/connection.h>
#include <introspect/fiber.h>
#include <introspect/interpreter.h>
#include <introspect/loop.h>
#include <introspect/manager.h>
#include <introspect/periodic.h>
#include <introspect/process_pool.h>
#include <introspect/process_queue.h>
#include <introspect/queue.h>
#include <introspect/service.h>
#include <introspect/shared.h>
#include <introspect/threads.h>

/* Nothing here takes so long; what does hangs. */
#define PATIENCE (20 * SEC)

/* Larger than a worker's ring, and one that lies in it. */
#define BIG ((size_t)3 << 20)
#define RING_WISE 100000

/* --- an allocator that refuses --------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static struct {
	_Atomic long asked, live;
	_Atomic bool refused;
	long fail_at; /* 0: never */
	bool and_after;
} memory;

static bool refuses(void)
{
	long asked;

	if (!memory.fail_at)
		return false;
	asked = ++memory.asked;
	if (asked != memory.fail_at && !(memory.and_after && asked > memory.fail_at))
		return false;
	memory.refused = true;
	errno = ENOMEM;
	return true;
}

static void *counted(void *got)
{
	if (got)
		memory.live++;
	return got;
}

void *malloc(size_t size)
{
	return refuses() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return refuses() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *old, size_t size)
{
	if (refuses())
		return NULL;
	return old ? __libc_realloc(old, size) : counted(__libc_malloc(size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return refuses() ? NULL : counted(__libc_memalign(alignment, size));
}

int posix_memalign(void **got, size_t alignment, size_t size)
{
	if (refuses())
		return ENOMEM;
	*got = counted(__libc_memalign(alignment, size));
	return *got ? 0 : ENOMEM;
}

void free(void *old)
{
	if (old)
		memory.live--;
	__libc_free(old);
}

/* --- what is tried: each may fail at any step, and cleans up -------------------------------------
 */

static int much(struct intro_call *call)
{
	static char bytes[BIG];

	return intro_call_return(call, bytes, call->size == BIG ? BIG : RING_WISE);
}

static int nothing_of_many(struct intro_call *call, const struct intro_arg *args, size_t n)
{
	return 0;
}

static int taken(size_t index, const struct intro_result *result, const struct intro_error *error,
		 void *ctx)
{
	return 0;
}

#define TASKS 25

static void use_pool(struct intro_executor *pool)
{
	static char bytes[BIG];
	struct intro_future future[TASKS], *list[TASKS];
	struct intro_as_completed *it;
	size_t index;

	if (!pool)
		return;
	for (int i = 0; i < TASKS; i++) {
		list[i] = &future[i];
		intro_future_init(&future[i]);
		/* the last has both large */
		size_t size = i % 12 == 0 ? BIG : i % 7 == 3 ? RING_WISE : 4;

		if (intro_executor_submit(pool, &future[i], i % 5 == 4 ? much : nothing, bytes,
					  size)) {
			assert_true(intro_future_cancel(&future[i]));
			intro_future_set_running_or_notify_cancel(&future[i]);
		}
	}
	it = intro_as_completed_new(list, TASKS);
	while (it && intro_as_completed_next(it, PATIENCE, &index) == 1)
		;
	intro_as_completed_free(it);
	for (int i = 0; i < TASKS; i++) {
		assert_int_not_equal(intro_future_result(&future[i], PATIENCE, NULL), -ETIMEDOUT);
		intro_future_destroy(&future[i]);
	}
	intro_executor_map(pool, nothing, bytes, 50, 4, 3, PATIENCE, taken, NULL);
	intro_executor_free(pool);
}

static void threads_pool(void)
{
	use_pool(intro_thread_executor_new(POOL_OPTIONS(.workers = 2)));
}

static void helped_pool(void)
{
	use_pool(intro_thread_executor_new(POOL_OPTIONS(.workers = 2, .waiters_help = true)));
}

static void dynamic_pool(void)
{
	use_pool(intro_dynamic_executor_new(POOL_OPTIONS(.workers = 4)));
}

static void bound_pool(void)
{
	use_pool(
		intro_thread_executor_new(POOL_OPTIONS(.workers = 2, .binding = INTRO_BIND_CORES)));
}

static void interpreter_pool(void)
{
	struct intro_interpreter *interpreter = intro_interpreter_new(0);

	if (interpreter)
		use_pool(intro_interpreter_executor_new(interpreter, POOL_OPTIONS(.workers = 2)));
	intro_interpreter_free(interpreter);
}

static void processes_pool(void)
{
	use_pool(intro_process_executor_new(POOL_OPTIONS(.workers = 2)));
}

static void take_iterator(struct intro_imap *it)
{
	struct intro_imap_item item;
	int ret = 0;

	while (it && (ret = intro_imap_next(it, PATIENCE, &item)) == 1)
		;
	assert_int_not_equal(ret, -ETIMEDOUT);
	intro_imap_free(it);
}

static void replacing_pool(void)
{
	struct intro_process_pool_options options = {
		.size = sizeof(options), .workers = 2, .max_tasks_per_worker = 4};
	struct intro_process_pool *pool = intro_process_pool_new(&options);
	int items[20] = {0};
	struct intro_arg args[4] = {{items, 4}, {items, 4}, {items, 4}, {items, 4}};

	if (!pool)
		return;
	intro_process_pool_map(pool, nothing, items, 20, 4, 0, PATIENCE, taken, NULL);
	take_iterator(intro_process_pool_imap(pool, nothing, items, 20, 4, 7));
	take_iterator(intro_process_pool_imap_unordered(pool, much, items, 20, 4, 7));
	intro_process_pool_starmap(pool, nothing_of_many, args, 2, 2, 1, PATIENCE, taken, NULL);
	intro_process_pool_free(pool);
}

static void *uses_local(void *local)
{
	intro_local_set(local, local);
	return NULL;
}

static void threads(void)
{
	struct intro_local *local = intro_local_new(NULL);
	struct intro_thread_handle *thread =
		local ? intro_thread_new(uses_local, local, NULL) : NULL;

	if (thread && !intro_thread_start(thread))
		assert_int_equal(intro_thread_join(thread, PATIENCE, NULL), 0);
	intro_thread_free(thread);
	intro_local_free(local);
}

static void queues(void)
{
	struct intro_queue *queue = intro_queue_new(NULL);
	void *item;

	for (int i = 0; queue && i < 100; i++)
		intro_queue_put(queue, NULL, 0);
	while (queue && !intro_queue_get(queue, &item, 0))
		;
	intro_queue_free(queue);
}

static void called(void *arg)
{
}

static void handles(const char *event, void *data, void *arg)
{
}

static void is_ready(int fd, uint32_t events, void *loop)
{
	intro_loop_remove(loop, fd);
}

static void run_loop(struct intro_loop *loop)
{
	/* a turn that had no memory for what is ready says so, and the next has it */
	for (int i = 0; i < 3 && intro_loop_run_until_idle(loop); i++)
		;
}

static void loops(void)
{
	struct intro_loop *loop = intro_loop_new(NULL);
	struct intro_executor *pool;
	struct intro_future future;
	int fds[2];

	if (!loop)
		return;
	if (!pipe(fds)) {
		close(fds[1]); /* its end is something to read */
		intro_loop_add(loop, fds[0], EPOLLIN, is_ready, loop);
		intro_loop_on(loop, "event", handles, NULL);
		intro_loop_emit(loop, "event", NULL);
		intro_loop_call_soon(loop, called, NULL);
		intro_loop_call_later(loop, MSEC, called, NULL, NULL);
		run_loop(loop);
		intro_loop_remove(loop, fds[0]);
		close(fds[0]);
	}
	pool = intro_loop_executor_new(loop, NULL);
	intro_future_init(&future);
	if (pool && !intro_executor_submit(pool, &future, nothing, NULL, 0))
		run_loop(loop);
	intro_future_destroy(&future);
	intro_executor_free(pool);
	intro_loop_free(loop);
}

static int naps(void *arg)
{
	return intro_fiber_sleep(MSEC / 10);
}

static void fibers(void)
{
	struct intro_fibers_options options = {.size = sizeof(options), .threads = 2};
	struct intro_fibers *all = intro_fibers_new(&options);
	struct intro_channel *channel = intro_channel_new(8, 8);
	struct intro_fiber *fiber;

	for (int i = 0; all && i < 70; i++)
		if (!intro_fiber_spawn(all, naps, NULL, &fiber))
			intro_fiber_free(fiber);
	intro_fibers_free(all);
	intro_channel_free(channel);
}

static void periodic(void)
{
	struct intro_periodic_options options = {.size = sizeof(options)};
	struct intro_periodic_task task = {
		.size = sizeof(task), .fn = nothing, .spacing_ns = MSEC, .run_immediately = true};
	struct intro_periodic *worker = intro_periodic_new(&options);

	for (int i = 0; worker && i < 12; i++)
		intro_periodic_add(worker, &task);
	if (worker && !intro_periodic_start(worker, 0))
		sleep_ms(2);
	intro_periodic_free(worker);
}

static int waits(struct intro_service_worker *worker)
{
	intro_service_wait(worker, INTRO_FOREVER);
	return 0;
}

static struct intro_service_manager *served;

static void stops(const struct intro_service_event *event, void *arg)
{
	intro_service_manager_stop(served, false);
}

/* Where it cannot start a worker it tries again, until somebody tells it to stop. */
static void *stops_in_time(void *arg)
{
	sleep_ms(15);
	intro_service_manager_stop(arg, true);
	return NULL;
}

static void services(void)
{
	struct intro_service_manager_options options = {
		.size = sizeof(options), .no_signals = true, .new_worker = stops};
	struct intro_service service = {
		.size = sizeof(service), .name = "scarce", .run = waits, .workers = 3};
	bool for_good = memory.and_after || !memory.fail_at;
	pthread_t stopper;

	served = intro_service_manager_new(&options);
	if (!served)
		return;
	if (for_good && pthread_create(&stopper, NULL, stops_in_time, served)) {
		intro_service_manager_free(served);
		return;
	}
	if (intro_service_manager_add(served, &service) >= 0)
		intro_service_manager_run(served);
	if (for_good)
		pthread_join(stopper, NULL);
	intro_service_manager_free(served);
}

/* got: of a call that gives memory when it succeeds. */
static void drop(int err, void *got)
{
	if (!err)
		free(got);
}

static void manager(void)
{
	struct intro_manager *m = intro_manager_new(NULL);
	uint64_t list, dict, queue, value;
	char bytes[1000] = "";
	void *got;
	size_t size;
	int err;

	if (!m)
		return;
	if (!intro_manager_make(m, INTRO_MANAGER_LIST, 0, &list)) {
		for (int i = 0; i < 20; i++)
			intro_manager_list_append(m, list, bytes, sizeof(bytes));
		err = intro_manager_list_items(m, list, &got, &size);
		drop(err, got);
		err = intro_manager_list_pop(m, list, 0, &got, &size);
		drop(err, got);
	}
	if (!intro_manager_make(m, INTRO_MANAGER_DICT, 0, &dict)) {
		for (int i = 0; i < 20; i++)
			intro_manager_dict_set(m, dict, &i, sizeof(i), bytes, 10);
		err = intro_manager_dict_keys(m, dict, &got, &size);
		drop(err, got);
	}
	if (!intro_manager_make(m, INTRO_MANAGER_QUEUE, 0, &queue)) {
		intro_manager_queue_put(m, queue, bytes, 10, 0);
		err = intro_manager_queue_get(m, queue, &got, &size, 0);
		drop(err, got);
	}
	if (!intro_manager_make(m, INTRO_MANAGER_VALUE, 0, &value))
		intro_manager_value_add(m, value, 1, NULL);
	intro_manager_free(m);
}

static void shared(void)
{
	struct intro_shared_array *array = intro_shared_array_new(INTRO_SHARED_INT8, 10, "a");
	struct intro_shared_memory *block = intro_shared_memory_create(NULL, 100);
	struct intro_process_queue *queue = intro_process_queue_new(NULL);
	struct intro_connection *ends[2];
	void *got;
	size_t size;
	int err;

	if (array)
		intro_shared_array_add(array, 0, 1, NULL);
	intro_shared_array_free(array);
	if (block)
		intro_shared_memory_unlink(block);
	intro_shared_memory_free(block);
	if (queue)
		intro_process_queue_put(queue, "x", 1, 0);
	intro_process_queue_free(queue);
	if (intro_connection_pair(true, ends))
		return;
	if (!intro_connection_send(ends[0], "x", 1)) {
		err = intro_connection_recv(ends[1], 0, &got, &size);
		drop(err, got);
	}
	if (!intro_connection_send_fd(ends[0], intro_connection_fd(ends[1]))) {
		err = intro_connection_recv_fd(ends[1]);
		if (err >= 0)
			close(err);
	}
	intro_connection_free(ends[0]);
	intro_connection_free(ends[1]);
}

/* --- the scarcity ------------------------------------------------------------------------------
 */

/* Children that were killed with their maker's end take a moment. */
static void nothing_is_left(unsigned fds)
{
	for (int i = 0; i < 1000 && count_children(); i++)
		sleep_ms(1);
	assert_int_equal(count_children(), 0);
	assert_int_equal(count_fds(), fds);
}

/* Those beyond are more of the same; and so many are tried in children that ask for more than we.
 */
#define MOST_FAILURES 30
#define LEAST_FAILURES 12
#define MOST_DESCRIPTORS 14

static void without_memory(void (*try)(void), bool and_after)
{
	unsigned fds = count_fds();
	long before;

	memory.refused = true;
	for (long at = 1; at <= MOST_FAILURES && (memory.refused || at <= LEAST_FAILURES); at++) {
		before = memory.live;
		memory.asked = 0;
		memory.refused = false;
		memory.and_after = and_after;
		memory.fail_at = at;
		try();
		memory.fail_at = 0;
		nothing_is_left(fds);
		if (memory.live > before)
			fail_msg("allocation %ld: %ld are left", at, memory.live - before);
	}
}

static void without_descriptors(void (*try)(void))
{
	unsigned fds = count_fds();
	struct rlimit limit, was;

	getrlimit(RLIMIT_NOFILE, &was);
	for (unsigned more = 0; more <= MOST_DESCRIPTORS; more++) {
		limit = was;
		limit.rlim_cur = fds + more;
		setrlimit(RLIMIT_NOFILE, &limit);
		try();
		setrlimit(RLIMIT_NOFILE, &was);
		nothing_is_left(fds);
	}
}

static void scarce(void **state)
{
	void (*try)(void) = (void (*)(void)) * state;

	/* what is made once for good is made now */
	try();
	try();
	without_memory(try, false);
	without_memory(try, true);
	without_descriptors(try);
	/* and afterwards all is well */
	try();
}

#define SCARCE(what)                                                                               \
	{                                                                                          \
		.name = #what, .test_func = scarce, .initial_state = (void *)what                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCARCE(threads),	  SCARCE(queues),	  SCARCE(threads_pool),
		SCARCE(helped_pool),	  SCARCE(dynamic_pool),	  SCARCE(bound_pool),
		SCARCE(interpreter_pool), SCARCE(loops),	  SCARCE(fibers),
		SCARCE(periodic),	  SCARCE(shared),	  SCARCE(manager),
		SCARCE(services),	  SCARCE(processes_pool), SCARCE(replacing_pool),
	};

	private_area();
	watchdog(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
