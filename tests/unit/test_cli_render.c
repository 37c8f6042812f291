// SPDX-License-Identifier: BSD-2-Clause
/* test_cli_render.c - what is printed: units, widths, hostile text, JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <json-c/json.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "../../cli/render.h"
#include "../../cli/render_causes.h"

/* --- text ------------------------------------------------------------------------------------- */

static void test_ns(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{0, "0 ns"},
		{1, "1 ns"},
		{999, "999 ns"},
		{1000, "1.00 µs"},
		{9994, "9.99 µs"},
		{9996, "10.0 µs"},
		{99940, "99.9 µs"},
		{99960, "100 µs"},
		{999499, "999 µs"},
		{999500, "1.00 ms"},
		{61234567, "61.2 ms"},
		{4810000000, "4.81 s"},
		{9999000000000, "9999 s"},
		{10000000000000, "2.78 h"},
		{86400000000000 * 5, "5.00 d"},
		{UINT64_MAX, "585 y"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(text_ns(cases[i].ns).s, cases[i].text);
	/* Nowhere wider than the columns that tables count on. */
	for (uint64_t ns = 1; ns < UINT64_MAX / 3; ns += ns / 7 + 1)
		assert_true(text_width(text_ns(ns).s, true) <= 7);
}

static void test_numbers(void **state)
{
	assert_string_equal(text_count(0).s, "0");
	assert_string_equal(text_count(999).s, "999");
	assert_string_equal(text_count(212408).s, "212 408");
	assert_string_equal(text_count(UINT64_MAX).s, "18 446 744 073 709 551 615");
	assert_string_equal(text_short(99999).s, "99 999");
	assert_string_equal(text_short(100000).s, "100 k");
	assert_string_equal(text_short(1234567).s, "1.23 M");
	assert_string_equal(text_short(UINT64_MAX).s, "18.4 E");
	for (uint64_t n = 1; n < UINT64_MAX / 3; n += n / 7 + 1)
		assert_true(strlen(text_short(n).s) <= 6);
	assert_string_equal(text_bytes(999).s, "999 B");
	assert_string_equal(text_bytes(3412345).s, "3.41 MB");
	assert_string_equal(text_percent(483, 1000).s, "48.3 %");
	assert_string_equal(text_percent(0, 1000).s, "0.0 %");
	assert_string_equal(text_percent(1, 1000000).s, "<0.1 %");
	assert_string_equal(text_percent(1, 0).s, "-");
	assert_string_equal(text_percent(1000, 1).s, ">999 %");
	assert_string_equal(text_rate(207.94).s, "207.9");
	assert_string_equal(text_rate(1.914).s, "1.91");
	assert_string_equal(text_rate(1234567).s, "1.23 M");
	assert_string_equal(text_rate(1e300).s, "18.4 E");
	assert_string_equal(text_rate(-1).s, "-");
	assert_string_equal(text_plural(1, "task").s, "1 task");
	assert_string_equal(text_plural(1000, "task").s, "1 000 tasks");
}

static const char *escaped(const char *in, bool utf8)
{
	static char out[256];

	text_escape(out, sizeof(out), in, strlen(in), utf8);
	return out;
}

static void test_escape(void **state)
{
	char small[6];

	assert_string_equal(escaped("plain name/1:2", true), "plain name/1:2");
	assert_string_equal(escaped("a\nb\tc\x1b[31mred\x7f", true), "a\\nb\\tc\\x1b[31mred\\x7f");
	assert_string_equal(escaped("grün", true), "grün");
	assert_string_equal(escaped("grün", false), "gr\\xc3\\xbcn");
	assert_string_equal(escaped("\xff\xfe", true), "\\xff\\xfe");
	/* right-to-left override: would reorder what follows it */
	assert_string_equal(escaped("a\u202eb", true), "a\\u202eb");
	/* C1 control: CSI in one character */
	assert_string_equal(escaped("\xc2\x9b"
				    "31m",
				    true),
			    "\\u009b31m");
	assert_string_equal(escaped("cut\xc3", true), "cut\\xc3");
	/* A buffer too small gets whole characters only. */
	assert_int_equal(text_escape(small, sizeof(small), "abcdü", 6, true), 4);
	assert_string_equal(small, "abcd");
	assert_int_equal(text_escape(small, sizeof(small), "ab\x1b", 3, true), 2);
}

static void test_fit(void **state)
{
	char text[64];

	strcpy(text, "resize/12");
	text_fit(text, 9, true);
	assert_string_equal(text, "resize/12");
	text_fit(text, 6, true);
	assert_string_equal(text, "resiz…");
	strcpy(text, "resize/12");
	text_fit(text, 6, false);
	assert_string_equal(text, "resiz~");
	/* wide characters take two columns */
	strcpy(text, "工人工人");
	assert_int_equal(text_width(text, true), 8);
	text_fit(text, 6, true);
	assert_string_equal(text, "工人…");
	text_fit(text, 0, true);
	assert_string_equal(text, "");
}

static void test_bar(void **state)
{
	char bar[200];

	text_bar(bar, sizeof(bar), 483, 1000, 32, true);
	assert_string_equal(bar, "███████████████▌");
	text_bar(bar, sizeof(bar), 1, 1000000, 32, true);
	assert_string_equal(bar, "▏");
	text_bar(bar, sizeof(bar), 0, 1000000, 32, true);
	assert_string_equal(bar, "");
	text_bar(bar, sizeof(bar), 5, 1, 4, false);
	assert_string_equal(bar, "####");
	text_bar(bar, sizeof(bar), UINT64_MAX, UINT64_MAX, 32, true);
	assert_int_equal(text_width(bar, true), 32);
}

/* --- tables ----------------------------------------------------------------------------------- */

/* The lines of printed text, none of which may be wider than the page. */
static size_t check_width(const char *text)
{
	size_t lines = 0;

	for (const char *at = text; *at; lines++) {
		size_t length = strcspn(at, "\n");
		char *line = strndup(at, length);
		size_t width = text_width(line, true);

		if (width > RENDER_COLUMNS)
			fail_msg("%zu columns: %s", width, line);
		for (size_t i = 0; i < length; i++)
			assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
		free(line);
		at += length + (at[length] == '\n');
	}
	return lines;
}

static void test_table(void **state)
{
	static const struct table_column columns[] = {
		{.title = "NAME", .flex = 4},
		{.title = "N", .right = true},
		{.title = "MAYBE", .optional = true},
		{.title = "REST", .drop = 1},
	};
	char wide[120], *text;
	size_t size;
	struct render render = {.utf8 = true};
	struct table *table = table_new(columns, 4);

	render.out = open_memstream(&text, &size);
	table_add(table, 1, (const char *const[]){"second", "1", "", "x"});
	table_add(table, 2, (const char *const[]){"first", "22", "", "x"});
	table_add(table, 1, (const char *const[]){"third", "333", "", "x"});
	table_add(table, 0, (const char *const[]){"gone", "1", "", "x"});
	table_keep(table, 3);
	assert_int_equal(table_rows(table), 3);
	table_print(table, &render, 0);
	assert_int_equal(table_rows(table), 0);
	/* The same layout: no second header, and columns stay. */
	table_add(table, 1, (const char *const[]){"a", "4", "", "x"});
	table_print(table, &render, 0);
	fflush(render.out);
	assert_string_equal(text, "NAME      N  REST\n"
				  "first    22  x\n"
				  "second    1  x\n"
				  "third   333  x\n"
				  "a         4  x\n");
	/* What cannot be shrunk is dropped. */
	memset(wide, 'w', sizeof(wide));
	wide[94] = 0;
	table_add(table, 1, (const char *const[]){"a name", wide, "", "x"});
	table_print(table, &render, 0);
	fclose(render.out);
	assert_null(strstr(text + 80, "REST"));
	assert_non_null(strstr(text, "a n… www"));
	assert_int_equal(check_width(text), 7);
	free(text);
	table_free(table);
}

/* --- a report ----------------------------------------------------------------------------------
 */

struct sample {
	struct intro_report report;
	struct intro_report_pool pools[2];
	struct intro_thread threads[3];
	struct intro_report_task slowest[2];
	struct intro_ledger ledger;
	uint32_t tids[1];
};

/* Every number is `n`, every text `name`. */
static void fill_ledger(struct intro_ledger *ledger, uint64_t n, const char *name)
{
	static const enum intro_cause causes[] = {
		INTRO_QUEUED_BUSY,	 INTRO_QUEUED_WAKEUP, INTRO_RUNNABLE_PREEMPTED,
		INTRO_RUNNABLE_WOKEN,	 INTRO_BLOCKED_LOCK,  INTRO_BLOCKED_SYSCALL,
		INTRO_BLOCKED_FILE,	 INTRO_BLOCKED_FAULT, INTRO_DELIVERED_WAKEUP,
		INTRO_DELIVERED_TRANSIT, INTRO_UNKNOWN_LOST,  INTRO_UNKNOWN_END};

	for (int i = 0; i < INTRO_ACCOUNTS; i++)
		ledger->account[i] = n / 8;
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		struct intro_split *split = &ledger->split[ledger->splits++];

		*split = (struct intro_split){.cause = (uint16_t)causes[i],
					      .holder = (uint16_t)(i % 4),
					      .holder_tid = UINT32_MAX,
					      .detail = UINT64_MAX,
					      .ns = n / 16};
		strncpy(split->holder_name, name, INTRO_COMM - 1);
	}
}

static void fill_thread(struct intro_thread *thread, uint64_t n, const char *name)
{
	thread->tid = thread->pid = thread->ppid = (uint32_t)n;
	thread->target = true;
	memcpy(thread->name, name, strnlen(name, INTRO_COMM_BYTES - 1));
	for (int i = 0; i < INTRO_STATES; i++)
		thread->states_ns[i] = thread->idle_ns[i] = n / 8;
	thread->voluntary = thread->involuntary = thread->migrations = thread->tasks = n;
}

static void fill_sample(struct sample *sample, uint64_t n, char *name)
{
	struct intro_report *report = &sample->report;

	memset(sample, 0, sizeof(*sample));
	fill_ledger(&sample->ledger, n, name);
	sample->tids[0] = (uint32_t)n;
	report->trace = (struct intro_report_trace){.duration_ns = n,
						    .events = n,
						    .lost = n,
						    .source = name,
						    .kernel = name,
						    .command = name,
						    .cut = name,
						    .cpus = (unsigned)n,
						    .nodes = (unsigned)n,
						    .tracer_cpu_s = (double)n};
	report->trace.damage = (struct intro_trace_damage){true, n, n, n, 0, n};
	report->pools = sample->pools;
	report->threads = sample->threads;
	report->slowest = sample->slowest;
	report->pools_n = report->slowest_n = 2;
	report->threads_n = 3;
	for (uint32_t i = 0; i < 2; i++) {
		struct intro_report_pool *pool = &sample->pools[i];
		struct intro_report_task *slow = &sample->slowest[i];

		strncpy(pool->name, name, sizeof(pool->name) - 1);
		pool->pool = (struct intro_pool){
			i + 1, pool->name, INTRO_POOL_PROCESS, 1, 0, n, n, n, n, n, n, n, n};
		pool->wall = (struct intro_quantiles){n, n, n, n, n};
		pool->ledger = sample->ledger;
		pool->cpu_ns = i ? 0 : n;
		pool->parallelism = (double)n;
		pool->worker_tids = sample->tids;
		strncpy(slow->name, name, sizeof(slow->name) - 1);
		slow->task = (struct intro_task){.id = n,
						 .pool = i + 1,
						 .worker_tid = (uint32_t)n,
						 .name = slow->name,
						 .early_ns = -1234,
						 .status = INTRO_TASK_CANCELLED,
						 .ledger = sample->ledger};
	}
	for (int i = 0; i < 3; i++)
		fill_thread(&sample->threads[i], n, name);
	sample->threads[0].pool = 1;
	sample->threads[0].worker = UINT32_MAX;
	sample->threads[0].in_tasks = &sample->ledger;
}

static void print_all(const struct intro_report *report, bool utf8, char **text)
{
	struct render_report_options options = {0};
	struct render_threads_options threads = {.all = true, .tree = true};
	size_t size;
	struct render render = {.out = open_memstream(text, &size), .utf8 = utf8};
	struct table *table = render_tasks_new(false);

	render_report(&render, report, &options);
	assert_int_equal(render_threads(&render, report, &threads), 0);
	assert_int_equal(
		render_tasks_add(table, false, 0, &report->slowest[0].task, report->pools[0].name),
		0);
	render_tasks_print(table, false, &render);
	table_free(table);
	fclose(render.out);
}

static void test_extremes(void **state)
{
	static char names[][64] = {"",
				   "x",
				   "a very long name without any end to it at all, really",
				   "\x1b[2J\r\n\t\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
				   "工人工人工人工人工人",
				   "%s%n%d%x%s%s%s%s"};
	static const uint64_t numbers[] = {
		0, 1, 999, 123456789, 99999999999999, UINT64_MAX / 2, UINT64_MAX};

	for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			struct sample sample;
			char *text;

			fill_sample(&sample, numbers[n], names[i]);
			print_all(&sample.report, i % 2 == 0 || i == 4, &text);
			assert_true(check_width(text) > 15);
			free(text);
		}
}

static void test_report_says(void **state)
{
	char name[] = "resize", *text;
	struct sample sample;

	fill_sample(&sample, 4810000000, name);
	sample.report.pools_n = 1;
	sample.pools[0].pool.kind = INTRO_POOL_THREAD;
	print_all(&sample.report, true, &text);
	assert_non_null(strstr(text, "POOL resize   1 thread "));
	assert_non_null(strstr(text, "every worker busy 7.1"));
	assert_non_null(strstr(text, "4.81 s"));
	assert_non_null(
		strstr(text, "CPU clocks (top, getrusage) say 4.81 s for the 601 ms running"));
	assert_non_null(strstr(text, "The end of the trace is missing."));
	free(text);
	/* a millisecond is not worth the line */
	sample.pools[0].cpu_ns = sample.ledger.account[INTRO_RUNNING] - 1000000;
	print_all(&sample.report, true, &text);
	assert_null(strstr(text, "CPU clocks"));
	free(text);
	/* Without a pool there is a word on how to get one. */
	sample.report.pools_n = 0;
	print_all(&sample.report, true, &text);
	assert_non_null(strstr(text, "introspect/mark.h"));
	free(text);
}

/* --- causes ------------------------------------------------------------------------------------
 */

static void test_causes(void **state)
{
	struct intro_ledger ledger = {0};
	char line[256];

	ledger.account[INTRO_RUNNABLE] = 1000;
	ledger.splits = 4;
	ledger.split[0] = (struct intro_split){
		.cause = INTRO_RUNNABLE_PREEMPTED, .holder = INTRO_HELD_POOL, .ns = 300};
	ledger.split[1] = (struct intro_split){
		.cause = INTRO_RUNNABLE_PREEMPTED, .holder = INTRO_HELD_OTHER, .ns = 400};
	strcpy(ledger.split[1].holder_name, "kworker/1:2");
	ledger.split[2] = (struct intro_split){
		.cause = INTRO_RUNNABLE_PREEMPTED, .holder = INTRO_HELD_POOL, .ns = 200};
	ledger.split[3] = (struct intro_split){.cause = INTRO_RUNNABLE_YIELDED, .ns = 100};
	causes_text(&ledger, INTRO_RUNNABLE, 2000, (struct causes_room){80, 1}, true, line,
		    sizeof(line));
	assert_string_equal(line, "preempted by this pool 25.0, kworker/1:2 20.0, yielded 5.0");
	/* What does not fit is summed. */
	causes_text(&ledger, INTRO_RUNNABLE, 2000, (struct causes_room){42, 1}, true, line,
		    sizeof(line));
	assert_string_equal(line, "preempted by this pool 25.0, other 25.0");
	causes_text(&ledger, INTRO_RUNNABLE, 2000, (struct causes_room){42, 2}, true, line,
		    sizeof(line));
	assert_string_equal(line, "preempted by this pool 25.0,\nkworker/1:2 20.0, yielded 5.0");
	causes_text(&ledger, INTRO_QUEUED, 2000, (struct causes_room){42, 1}, true, line,
		    sizeof(line));
	assert_string_equal(line, "");
}

/* A lock that has a name goes by it, also where addresses are left out; what is in it is hostile.
 */
static void test_named_locks(void **state)
{
	struct intro_ledger ledger = {.account = {[INTRO_BLOCKED] = 1000}, .splits = 3};
	struct cause_sum most;
	char line[256];

	ledger.split[0] = (struct intro_split){
		.cause = INTRO_BLOCKED_LOCK, .detail = INTRO_DETAIL_NAMED | 7, .ns = 600};
	strcpy(ledger.split[0].holder_name, "accounts\x1b");
	ledger.split[1] =
		(struct intro_split){.cause = INTRO_BLOCKED_LOCK, .detail = 0x55c0, .ns = 300};
	ledger.split[2] = (struct intro_split){
		.cause = INTRO_BLOCKED_CONDITION, .detail = INTRO_DETAIL_NAMED | 8, .ns = 100};
	causes_text(&ledger, INTRO_BLOCKED, 1000, (struct causes_room){200, 1}, true, line,
		    sizeof(line));
	assert_string_equal(line, "lock accounts\\x1b 60.0, lock 0x55c0 30.0, condition 10.0");
	causes_most(&ledger, INTRO_BLOCKED, true, &most);
	assert_string_equal(most.label, "lock accounts\\x1b");
	assert_int_equal(most.ns, 600);
}

static void test_holders(void **state)
{
	static const char *const names[] = {"resize/0", "resize/1", "kworker/1:2", "a/", "/7", ""};
	struct intro_ledger ledger = {.account = {[INTRO_RUNNABLE] = 1000}, .splits = 6};
	char line[256];

	for (size_t i = 0; i < 6; i++) {
		ledger.split[i] = (struct intro_split){.cause = INTRO_RUNNABLE_WOKEN,
						       .holder = INTRO_HELD_OTHER,
						       .ns = 200 - 10 * i};
		strcpy(ledger.split[i].holder_name, names[i]);
	}
	causes_text(&ledger, INTRO_RUNNABLE, 1000, (struct causes_room){200, 1}, true, line,
		    sizeof(line));
	assert_string_equal(line, "woken behind resize/* 39.0, kworker/1:2 18.0, a/ 17.0, /7 16.0, "
				  "various 15.0");
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static uint64_t sum_of(struct json_object *object)
{
	uint64_t sum = 0;

	json_object_object_foreach(object, key, value) sum +=
		key ? json_object_get_uint64(value) : 0;
	return sum;
}

static void test_json_task(void **state)
{
	char name[] = "bad \xff\" \x01";
	struct sample sample;
	struct json_object *object, *again, *part;

	fill_sample(&sample, 16000, name);
	object = json_task(&sample.slowest[0].task, name);
	/* It reads back, and is UTF-8. */
	again = json_tokener_parse(json_object_to_json_string(object));
	assert_non_null(again);
	assert_true(json_object_object_get_ex(again, "name", &part));
	assert_string_equal(json_object_get_string(part), "bad \xef\xbf\xbd\" \x01");
	assert_true(json_object_object_get_ex(again, "ledger", &part));
	assert_int_equal(sum_of(part), intro_ledger_total(&sample.ledger));
	assert_true(json_object_object_get_ex(again, "wall_ns", &part));
	assert_int_equal(json_object_get_uint64(part), intro_ledger_total(&sample.ledger));
	assert_true(json_object_object_get_ex(again, "queued", &part));
	assert_int_equal(sum_of(part), 2000);
	/* it ran for 2000, and was charged 1234 less; of less than nothing there is none */
	assert_true(json_object_object_get_ex(again, "cpu_ns", &part));
	assert_int_equal(json_object_get_uint64(part), 766);
	assert_int_equal(intro_cpu_ns(1000, -1234), 0);
	assert_int_equal(intro_cpu_ns(1000, 1234), 2234);
	json_object_put(object);
	json_object_put(again);
}

static void test_json_report(void **state)
{
	static const char *const members[] = {"schema", "trace", "pools", "threads"};
	static const char *const of_trace[] = {"duration_ns", "events", "lost",	 "source",
					       "kernel",      "cpus",	"nodes", "command"};
	char name[] = "resize";
	struct sample sample;
	struct json_object *object, *part, *trace;

	fill_sample(&sample, UINT64_MAX, name);
	object = json_report(&sample.report);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		assert_true(json_object_object_get_ex(object, members[i], &part));
	json_object_object_get_ex(object, "trace", &trace);
	for (size_t i = 0; i < sizeof(of_trace) / sizeof(of_trace[0]); i++)
		assert_true(json_object_object_get_ex(trace, of_trace[i], &part));
	json_object_object_get_ex(trace, "events", &part);
	assert_true(json_object_get_uint64(part) == UINT64_MAX);
	json_object_put(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ns),	    cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_escape),	    cmocka_unit_test(test_fit),
		cmocka_unit_test(test_bar),	    cmocka_unit_test(test_table),
		cmocka_unit_test(test_extremes),    cmocka_unit_test(test_report_says),
		cmocka_unit_test(test_causes),	    cmocka_unit_test(test_holders),
		cmocka_unit_test(test_named_locks), cmocka_unit_test(test_json_task),
		cmocka_unit_test(test_json_report),
	};

	/* The answers below are those of a UTF-8 terminal, whatever that of whoever tests. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
