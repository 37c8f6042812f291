// SPDX-License-Identifier: BSD-2-Clause
/* golden.c - see golden.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "golden.h"

#define WORDS_MAX 80

struct words {
	char *word[WORDS_MAX + 1];
	unsigned n, at;
};

static const char *next(struct words *words)
{
	return words->at < words->n ? words->word[words->at++] : "";
}

static uint64_t next_number(struct words *words)
{
	return strtoull(next(words), NULL, 0);
}

/* Takes `word` if it comes next. */
static bool take(struct words *words, const char *word)
{
	if (words->at < words->n && !strcmp(words->word[words->at], word)) {
		words->at++;
		return true;
	}
	return false;
}

static uint64_t take_number(struct words *words, const char *word)
{
	return take(words, word) ? next_number(words) : 0;
}

static void split_words(char *line, struct words *words)
{
	char *save, *word;

	words->n = words->at = 0;
	for (word = strtok_r(line, " \t\n", &save); word && words->n < WORDS_MAX;
	     word = strtok_r(NULL, " \t\n", &save))
		words->word[words->n++] = word;
}

/* --- records -----------------------------------------------------------------------------------
 */

static const struct {
	const char *word;
	uint8_t kind;
} kind_words[] = {
#define KIND_WORD(NAME, value, rows, payload, text) {text, value},
	INTRO_KINDS(KIND_WORD)
#undef KIND_WORD
};

static int syscall_number(const char *name)
{
	for (int i = 0; i < 512; i++)
		if (intro_syscall_text(i) && !strcmp(intro_syscall_text(i), name))
			return i;
	return INTRO_SYS_NONE;
}

/* "sleep futex 0x1000 wait", "disk", "preempt", "sleep read fifo" */
static bool read_off(struct words *words, uint8_t *state, uint8_t *arg1, int16_t *sysnr,
		     __u64 *arg0)
{
	static const char *const offs[] = {"yield", "sleep", "disk", "stopped", "idle", "dead"};
	static const struct {
		const char *word;
		uint8_t arg1;
	} args[] = {
		{"wait", 0},
		{"wait_bitset", 9},
		{"lock_pi", 6},
		{"reg", S_IFREG >> 12},
		{"fifo", S_IFIFO >> 12},
		{"sock", S_IFSOCK >> 12},
		{"chr", S_IFCHR >> 12},
		{"blk", S_IFBLK >> 12},
		{"untyped", 0},
	};
	const char *word = next(words);

	*sysnr = INTRO_SYS_NONE;
	*state = 0xff;
	for (uint8_t i = 0; i < sizeof(offs) / sizeof(*offs); i++)
		if (!strcmp(word, offs[i]))
			*state = i;
	if (!strcmp(word, "preempt"))
		*state = INTRO_SWITCH_PREEMPT;
	if (!strcmp(word, "late"))
		*state = INTRO_SWITCH_LATE;
	if (*state == 0xff)
		return false;
	if (take(words, "kthread"))
		*state |= INTRO_SWITCH_KTHREAD;
	if (take(words, "early"))
		*arg0 = next_number(words);
	if (words->at == words->n)
		return true;
	*sysnr = (int16_t)syscall_number(next(words));
	if (*sysnr == INTRO_SYS_NONE)
		return false;
	if (words->at < words->n && words->word[words->at][0] == '0')
		*arg0 = next_number(words);
	for (size_t i = 0; i < sizeof(args) / sizeof(*args); i++)
		if (take(words, args[i].word))
			*arg1 = args[i].arg1;
	return true;
}

static bool read_task(struct words *words, struct intro_rec_task *task)
{
	task->flags = INTRO_TASK_TARGET;
	task->tgid = (uint32_t)take_number(words, "pid");
	task->ppid = (uint32_t)take_number(words, "ppid");
	task->other_tid = (uint32_t)take_number(words, "by");
	task->start_time = take_number(words, "start");
	if (take(words, "name"))
		snprintf(task->comm, sizeof(task->comm), "%s", next(words));
	if (take(words, "bystander"))
		task->flags = 0;
	if (take(words, "kthread"))
		task->flags |= INTRO_TASK_KTHREAD;
	return true;
}

/* "pages 10 given 3 from 2": from no node that is known, without "from" */
static bool read_pages(struct words *words, struct intro_rec_pages *pages)
{
	static const char *const whats[] = {"", "given", "hinted", "balanced", "moved"};

	for (uint8_t i = 1; i < sizeof(whats) / sizeof(*whats); i++)
		if (take(words, whats[i]))
			pages->what = i;
	pages->pages = (uint32_t)next_number(words);
	pages->node = take(words, "from") ? (uint16_t)next_number(words) : INTRO_NODE_UNKNOWN;
	return pages->what;
}

/* "numa 10 stuck 0 -> 3" */
static bool read_numa(struct words *words, struct intro_rec_numa *numa)
{
	static const char *const decisions[] = {"", "moved", "stuck", "swapped"};

	for (uint8_t i = 1; i < sizeof(decisions) / sizeof(*decisions); i++)
		if (take(words, decisions[i]))
			numa->decision = i;
	numa->from_cpu = (uint16_t)next_number(words);
	if (!take(words, "->"))
		return false;
	numa->to_cpu = (uint16_t)next_number(words);
	return numa->decision;
}

static bool read_snapshot(struct words *words, struct intro_rec_snapshot *snapshot)
{
	snapshot->when = take(words, "begin") ? INTRO_SNAPSHOT_BEGIN
			 : take(words, "end") ? INTRO_SNAPSHOT_END
					      : 0;
	snapshot->start_time = take_number(words, "start");
	snapshot->exec_ns = take_number(words, "exec");
	snapshot->wait_ns = take_number(words, "wait");
	if (take(words, "on-cpu")) {
		snapshot->when |= INTRO_SNAPSHOT_ON_CPU;
		return true;
	}
	if (take(words, "runnable"))
		return true;
	return read_off(words, &snapshot->state, &snapshot->arg1, &snapshot->sysnr,
			&snapshot->arg0);
}

static bool read_kernel(struct words *words, union golden_record *record)
{
	switch (record->rec.kind) {
	case INTRO_KIND_SWITCH:
		if (!take(words, "->"))
			return false;
		record->sw.next_tid = (uint32_t)next_number(words);
		return read_off(words, &record->sw.state, &record->sw.arg1, &record->sw.sysnr,
				&record->sw.arg0);
	case INTRO_KIND_WAKING:
	case INTRO_KIND_WAKEUP_NEW:
		record->waking.waker_tid = (uint32_t)take_number(words, "by");
		record->waking.target_cpu = (uint16_t)take_number(words, "target");
		record->waking.woken_ts = take_number(words, "late");
		record->waking.flags = record->waking.woken_ts ? INTRO_WAKING_LATE : 0;
		return true;
	case INTRO_KIND_MIGRATE:
		record->migrate.from_cpu = (uint16_t)next_number(words);
		if (!take(words, "->"))
			return false;
		record->migrate.to_cpu = (uint16_t)next_number(words);
		return true;
	case INTRO_KIND_PAGES:
		return read_pages(words, &record->pages);
	case INTRO_KIND_NUMA:
		return read_numa(words, &record->numa);
	case INTRO_KIND_TASK:
	case INTRO_KIND_FORK:
	case INTRO_KIND_EXEC:
	case INTRO_KIND_RENAME:
		return read_task(words, &record->task);
	case INTRO_KIND_EXIT:
		record->exit.exit_code = (uint32_t)take_number(words, "code");
		record->exit.start_time = take_number(words, "start");
		return true;
	case INTRO_KIND_SNAPSHOT:
		return read_snapshot(words, &record->snapshot);
	case INTRO_KIND_LOST:
		record->lost.until_ts = take_number(words, "until");
		record->lost.count = take_number(words, "count");
		return true;
	default:
		return false;
	}
}

static bool read_status(struct words *words, struct intro_rec_mark *mark)
{
	static const char *const statuses[] = {"ok", "failed", "cancelled", "lost"};
	bool known = false;

	for (uint32_t i = 0; i < 4; i++)
		if (take(words, statuses[i])) {
			mark->a = i;
			known = true;
			break;
		}
	if (take(words, "result"))
		mark->b |= INTRO_END_RESULT;
	if (take(words, "waited"))
		mark->b |= INTRO_END_WAITED;
	return known;
}

static bool read_mark(struct words *words, struct intro_rec_mark *mark)
{
	switch (mark->rec.kind) {
	case INTRO_KIND_WORKER_START:
	case INTRO_KIND_WORKER_STOP:
		mark->a = (uint32_t)take_number(words, "pool");
		mark->b = (uint32_t)take_number(words, "index");
		return true;
	case INTRO_KIND_REJECT:
		mark->a = (uint32_t)take_number(words, "pool");
		mark->b = (uint32_t)take_number(words, "name");
		return true;
	case INTRO_KIND_LOST:
		return read_kernel(words, (union golden_record *)mark);
	default:
		break;
	}
	mark->task = next_number(words);
	switch (mark->rec.kind) {
	case INTRO_KIND_SUBMIT:
	case INTRO_KIND_TAKE:
	case INTRO_KIND_START:
	case INTRO_KIND_CANCEL:
		mark->a = (uint32_t)take_number(words, "pool");
		mark->b = (uint32_t)take_number(words,
						mark->rec.kind == INTRO_KIND_TAKE ? "to" : "name");
		if (take(words, "fiber"))
			mark->b = INTRO_START_FIBER;
		return true;
	case INTRO_KIND_MOUNT:
		mark->a = (uint32_t)take_number(words, "pool");
		return true;
	case INTRO_KIND_UNMOUNT:
		mark->a = take(words, "ready") ? INTRO_UNMOUNT_READY : 0;
		if (take(words, "parked"))
			mark->a = INTRO_UNMOUNT_PARKED;
		return mark->a;
	case INTRO_KIND_END:
	case INTRO_KIND_RESULT:
		return read_status(words, mark);
	case INTRO_KIND_WAIT:
	case INTRO_KIND_WAKE:
	case INTRO_KIND_READ:
	case INTRO_KIND_READY:
		return true;
	default:
		return false;
	}
}

static bool read_def(struct words *words, struct intro_rec_def *def)
{
	static const char *const kinds[] = {"marked", "thread", "process", "own"};

	if (take(words, "lock")) {
		uint64_t address;

		def->def = INTRO_DEF_LOCK;
		def->id = (uint32_t)next_number(words);
		def->rec.tid = (uint32_t)take_number(words, "pid");
		address = take_number(words, "address");
		def->workers = (uint32_t)address;
		def->address_high = (uint32_t)(address >> 32);
		return true;
	}
	def->def = take(words, "pool") ? INTRO_DEF_POOL : take(words, "name") ? INTRO_DEF_NAME : 0;
	def->id = (uint32_t)next_number(words);
	for (uint8_t i = 0; i < 4; i++)
		if (take(words, kinds[i]))
			def->pool_kind = i;
	snprintf(def->name, sizeof(def->name), "%s", next(words));
	return def->def;
}

static bool read_record(struct golden *golden, struct words *words)
{
	union golden_record *record = &golden->record[golden->records];
	const char *where, *kind;
	bool read = false;

	if (golden->records == GOLDEN_RECORDS)
		return false;
	memset(record, 0, sizeof(*record));
	record->rec.ts = next_number(words);
	record->rec.cpu = INTRO_CPU_NONE;
	where = next(words);
	kind = next(words);
	for (size_t i = 0; i < sizeof(kind_words) / sizeof(*kind_words); i++)
		if (!strcmp(kind, kind_words[i].word))
			record->rec.kind = kind_words[i].kind;
	record->rec.rows = 2;
	if (!strncmp(where, "cpu", 3)) {
		record->rec.cpu = (uint16_t)atoi(where + 3);
		if (record->rec.kind != INTRO_KIND_LOST)
			record->rec.tid = (uint32_t)next_number(words);
		read = read_kernel(words, record);
	} else if (!strncmp(where, "tid", 3)) {
		record->rec.tid = (uint32_t)strtoul(where + 3, NULL, 0);
		read = read_mark(words, &record->mark);
	} else if (!strcmp(where, "ctl") && record->rec.kind == INTRO_KIND_DEF) {
		read = read_def(words, &record->def);
	}
	golden->records++;
	return read && words->at == words->n;
}

/* "cpu 2 core 1 package 0 node 4 [offline]" */
static bool read_cpu(struct golden *golden, struct words *words)
{
	struct intro_topology_cpu *cpu =
		intro__topology_add_cpu(golden->topology, next_number(words));

	if (!cpu)
		return false;
	cpu->core = (uint32_t)take_number(words, "core");
	cpu->package = (uint32_t)take_number(words, "package");
	cpu->node = take(words, "node") ? (int32_t)next_number(words) : INTRO_NODE_NONE;
	cpu->online = !take(words, "offline");
	return words->at == words->n;
}

/* "node 4 memory 1000000" */
static bool read_node(struct golden *golden, struct words *words)
{
	struct intro_topology_node *node =
		intro__topology_add_node(golden->topology, next_number(words));

	if (!node)
		return false;
	node->memory_bytes = take_number(words, "memory");
	return words->at == words->n;
}

static bool read_line(struct golden *golden, const char *text)
{
	char copy[GOLDEN_LINE];
	struct words words;

	snprintf(copy, sizeof(copy), "%s", text);
	if (strchr(copy, '#'))
		*strchr(copy, '#') = '\0';
	split_words(copy, &words);
	if (!words.n)
		return true;
	if (take(&words, "node")) {
		return read_node(golden, &words);
	} else if (take(&words, "cpu")) {
		return read_cpu(golden, &words);
	} else if (take(&words, "begin")) {
		golden->options.begin_ns = next_number(&words);
	} else if (take(&words, "end")) {
		golden->options.end_ns = next_number(&words);
	} else if (take(&words, "expect")) {
		if (golden->expecteds == GOLDEN_EXPECTED)
			return false;
		text = strstr(text, "expect") + strlen("expect ");
		snprintf(golden->expected[golden->expecteds++], GOLDEN_LINE, "%.*s",
			 (int)strcspn(text, "#\n"), text);
		return true;
	} else {
		return read_record(golden, &words);
	}
	return words.at == words.n;
}

bool golden_read(struct golden *golden, const char *path)
{
	char line[GOLDEN_LINE];
	FILE *file = fopen(path, "r");
	int number = 0;

	memset(golden, 0, sizeof(*golden));
	golden->options.size = sizeof(golden->options);
	golden->topology = intro__topology_new();
	golden->options.topology = golden->topology;
	if (!file) {
		snprintf(golden->error, sizeof(golden->error), "%.200s: cannot be opened", path);
		return false;
	}
	while (!golden->error[0] && fgets(line, sizeof(line), file)) {
		number++;
		if (!read_line(golden, line))
			snprintf(golden->error, sizeof(golden->error), "%.200s:%d: %.200s", path,
				 number, line);
	}
	fclose(file);
	if (golden->topology)
		intro__topology_finish(golden->topology);
	return !golden->error[0];
}

void golden_free(struct golden *golden)
{
	intro_topology_free(golden->topology);
	free(golden);
}

/* --- what the replay says ----------------------------------------------------------------------
 */

__attribute__((format(printf, 3, 4))) static void say(char *line, size_t size, const char *format,
						      ...)
{
	size_t used = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, size - used, format, args);
	va_end(args);
}

static void say_split(const struct intro_split *split, char *line, size_t size)
{
	enum intro_cause cause = (enum intro_cause)split->cause;
	const char *text = intro_cause_text(cause);

	say(line, size, " %s/", intro_account_text(intro_cause_account(cause)));
	for (; *text; text++)
		say(line, size, "%c", *text == ' ' ? '-' : *text);
	if (split->detail == INTRO_DETAIL_MANY)
		say(line, size, "@many");
	else if (intro_cause_account(cause) == INTRO_BLOCKED && split->holder_name[0])
		say(line, size, "@%s", split->holder_name);
	else if (cause == INTRO_BLOCKED_LOCK || cause == INTRO_BLOCKED_CONDITION)
		say(line, size, "@0x%" PRIx64, split->detail);
	else if (cause == INTRO_BLOCKED_FUTURE)
		say(line, size, "@%" PRIu64, split->detail);
	else if (cause == INTRO_BLOCKED_SYSCALL || cause == INTRO_BLOCKED_FILE ||
		 cause == INTRO_BLOCKED_PIPE || cause == INTRO_BLOCKED_SOCKET ||
		 cause == INTRO_BLOCKED_TTY)
		say(line, size, "@%s", intro_syscall_text((int)split->detail));
	if (split->holder == INTRO_HELD_POOL)
		say(line, size, ":pool");
	else if (split->holder == INTRO_HELD_PROCESS)
		say(line, size, ":process");
	else if (split->holder == INTRO_HELD_OTHER)
		say(line, size, ":other-%s", split->holder_name);
	say(line, size, "=%" PRIu64, split->ns);
}

/* "moved-cross:2/30": how often, and ns from there to the run; "ran4:100": on node 4. */
static void say_placement(const struct intro_placement *placement, char *line, size_t size)
{
	for (int i = 0; placement && i < INTRO_MOVES; i++)
		say(line, size, " moved-%s:%" PRIu64 "/%" PRIu64,
		    intro_move_text((enum intro_move)i), placement->moves[i],
		    placement->move_wait_ns[i]);
	for (uint32_t i = 0; placement && i < placement->nodes; i++)
		say(line, size, " ran%u:%" PRIu64, placement->topology->nodes[i].node,
		    intro_placement_ran(placement, i));
	for (uint32_t i = 0; placement && i < placement->nodes; i++)
		say(line, size, " pages%u:%" PRIu64, placement->topology->nodes[i].node,
		    intro_placement_pages(placement, i));
	if (!placement)
		return;
	say(line, size, " elsewhere:%" PRIu64 " local:%" PRIu64 " remote:%" PRIu64,
	    placement->elsewhere_ns, placement->local_pages, placement->remote_pages);
	say(line, size, " unplaced:%" PRIu64 " hinted:%" PRIu64 "/%" PRIu64 " balanced:%" PRIu64,
	    placement->unplaced_pages, placement->hinted_local, placement->hinted_remote,
	    placement->balanced_pages);
	say(line, size, " moved-pages:%" PRIu64 " decided:%" PRIu64 "/%" PRIu64 "/%" PRIu64,
	    placement->moved_pages, placement->decisions[INTRO_DECISION_MOVED],
	    placement->decisions[INTRO_DECISION_STUCK],
	    placement->decisions[INTRO_DECISION_SWAPPED]);
	say(line, size, " home:%d apart:%" PRIu64,
	    intro_placement_home(placement) < 0
		    ? -1
		    : (int)placement->topology->nodes[intro_placement_home(placement)].node,
	    intro_placement_apart(placement));
}

void golden_render_task(const struct intro_task *task, char *line, size_t size)
{
	line[0] = '\0';
	say(line, size, "task %" PRIu64 " %s submit:%" PRIu64 " done:%" PRIu64 " worker:%u",
	    task->id, intro_task_status_text(task->status), task->submit_ns, task->done_ns,
	    task->worker_tid);
	say(line, size, " start:%" PRIu64 " end:%" PRIu64 " take:%" PRIu64 " result:%" PRIu64,
	    task->start_ns, task->end_ns, task->take_ns, task->result_ns);
	say(line, size, " pool:%u name:%s voluntary:%u involuntary:%u migrations:%u", task->pool,
	    task->name, task->voluntary, task->involuntary, task->migrations);
	say_placement(task->placement, line, size);
	if (task->early_ns)
		say(line, size, " early=%" PRId64, task->early_ns);
	if (task->ledger.account[INTRO_RUNNING])
		say(line, size, " running=%" PRIu64, task->ledger.account[INTRO_RUNNING]);
	for (uint32_t i = 0; i < task->ledger.splits; i++)
		say_split(&task->ledger.split[i], line, size);
}

void golden_render_thread(const struct intro_thread *thread, char *line, size_t size)
{
	static const char *const states[] = {"new",	"runnable", "running",
					     "blocked", "dead",	    "unknown"};

	line[0] = '\0';
	say(line, size, "thread %u first:%" PRIu64 " last:%" PRIu64 " pid:%u ppid:%u name:%s",
	    thread->tid, thread->first_ns, thread->last_ns, thread->pid, thread->ppid,
	    thread->name);
	say(line, size, " %s exit:%u voluntary:%" PRIu64 " involuntary:%" PRIu64,
	    thread->alive ? "alive" : "gone", thread->exit_code, thread->voluntary,
	    thread->involuntary);
	say(line, size, " migrations:%" PRIu64 " runs:%" PRIu64 " wakeups:%" PRIu64,
	    thread->migrations, thread->runs, thread->wakeups);
	say(line, size, " pool:%u worker:%u tasks:%" PRIu64 " %s", thread->pool, thread->worker,
	    thread->tasks, thread->target ? "target" : "bystander");
	say_placement(thread->placement, line, size);
	if (thread->early_ns)
		say(line, size, " early=%" PRId64, thread->early_ns);
	for (int i = 0; i < INTRO_STATES; i++)
		say(line, size, " idle-%s:%" PRIu64, states[i], thread->idle_ns[i]);
	for (int i = 0; i < INTRO_STATES; i++)
		if (thread->states_ns[i])
			say(line, size, " %s=%" PRIu64, states[i], thread->states_ns[i]);
}

void golden_render_pool(const struct intro_pool *pool, char *line, size_t size)
{
	static const char *const kinds[] = {"marked", "thread", "process", "own"};

	line[0] = '\0';
	say(line, size, "pool %u name:%s %s workers:%u first:%" PRIu64 " last:%" PRIu64, pool->id,
	    pool->name, kinds[pool->kind], pool->workers, pool->first_ns, pool->last_ns);
	say(line, size, " submitted:%" PRIu64 " finished:%" PRIu64 " failed:%" PRIu64,
	    pool->submitted, pool->finished, pool->failed);
	say(line, size, " cancelled:%" PRIu64 " lost:%" PRIu64 " open:%" PRIu64, pool->cancelled,
	    pool->lost, pool->open);
	say(line, size, " rejected:%" PRIu64, pool->rejected);
}

void golden_render_totals(const struct intro_replay_totals *totals, char *line, size_t size)
{
	line[0] = '\0';
	say(line, size, "totals strange:%" PRIu64 " lost:%" PRIu64 " records:%" PRIu64,
	    totals->strange, totals->lost, totals->records);
	say(line, size, " begin:%" PRIu64 " end:%" PRIu64 " dropped:%" PRIu64, totals->begin_ns,
	    totals->end_ns, totals->dropped_tasks);
	say(line, size, " idle-early:%" PRId64, totals->idle_early_ns);
}

static bool has_word(const struct words *words, const char *word)
{
	for (unsigned i = 0; i < words->n; i++)
		if (!strcmp(words->word[i], word))
			return true;
	return false;
}

bool golden_match(const char *expected, const char *said, char *why, size_t size)
{
	char copy[2][4 * GOLDEN_LINE];
	struct words want, have;

	snprintf(copy[0], sizeof(copy[0]), "%s", expected);
	snprintf(copy[1], sizeof(copy[1]), "%s", said);
	split_words(copy[0], &want);
	split_words(copy[1], &have);
	for (unsigned i = 0; i < want.n; i++)
		if (!has_word(&have, want.word[i])) {
			snprintf(why, size, "expected %s", want.word[i]);
			return false;
		}
	for (unsigned i = 0; i < have.n; i++)
		if (strchr(have.word[i], '=') && !has_word(&want, have.word[i])) {
			snprintf(why, size, "unexpected %s", have.word[i]);
			return false;
		}
	return true;
}
