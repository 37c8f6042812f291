// SPDX-License-Identifier: BSD-2-Clause
/* render_threads.c - a row a thread: states, switches, migrations; as a list or a tree. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "render.h"

const char *const render_threads_orders[] = {
	[THREADS_BY_RUNNING] = "running",
	[THREADS_BY_RUNNABLE] = "runnable",
	[THREADS_BY_BLOCKED] = "blocked",
	[THREADS_BY_SWITCHES] = "switches",
	[THREADS_BY_MIGRATIONS] = "migrations",
	[THREADS_BY_TID] = "tid",
	[THREADS_BY_NAME] = "name",
	NULL,
};

static const struct table_column columns[] = {
	{.title = "THREAD", .flex = 8},	      {.title = "TID", .right = true},
	{.title = "PID", .right = true},      {.title = "new", .right = true, .optional = true},
	{.title = "runnable", .right = true}, {.title = "running", .right = true},
	{.title = "blocked", .right = true},  {.title = "unknown", .right = true, .optional = true},
	{.title = "vol", .right = true},      {.title = "inv", .right = true},
	{.title = "migr", .right = true},     {.title = "END", .drop = 1},
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static const struct table_column line[] = {{.title = ""}};

/* A thread and where it stands in the tree. */
struct entry {
	const struct intro_thread *thread;
	unsigned depth;
	bool shown;
};

struct list {
	struct entry *entries;
	size_t n;
};

static struct text time_of(const struct intro_thread *thread, enum intro_state state)
{
	return text_ns(thread->states_ns[state]);
}

static void end_text(const struct intro_thread *thread, char *out, size_t size)
{
	unsigned signal = thread->exit_code & 0x7f;
	const char *name = sigabbrev_np((int)signal);

	if (thread->alive)
		snprintf(out, size, "alive");
	else if (!signal)
		snprintf(out, size, "exit %u", (thread->exit_code >> 8) & 0xff);
	else if (name)
		snprintf(out, size, "%s", name);
	else
		snprintf(out, size, "signal %u", signal);
}

static int add_text(struct table *table, const struct entry *entry, bool utf8)
{
	const struct intro_thread *thread = entry->thread;
	const uint64_t *ns = thread->states_ns;
	unsigned depth = entry->depth < 8 ? entry->depth : 8;
	char name[128], tid[16], pid[16], end[24];
	int used = snprintf(name, sizeof(name), "%*s", (int)(2 * depth), "");

	text_escape(name + used, sizeof(name) - (size_t)used, thread->name, INTRO_COMM_BYTES, utf8);
	snprintf(tid, sizeof(tid), "%" PRIu32, thread->tid);
	snprintf(pid, sizeof(pid), "%" PRIu32, thread->pid);
	end_text(thread, end, sizeof(end));
	return table_add(
		table, 0,
		(const char *const[COLUMNS]){
			name, tid, pid,
			ns[INTRO_STATE_NEW] ? time_of(thread, INTRO_STATE_NEW).s : "",
			time_of(thread, INTRO_STATE_RUNNABLE).s,
			time_of(thread, INTRO_STATE_RUNNING).s,
			time_of(thread, INTRO_STATE_BLOCKED).s,
			ns[INTRO_STATE_UNKNOWN] ? time_of(thread, INTRO_STATE_UNKNOWN).s : "",
			text_short(thread->voluntary).s, text_short(thread->involuntary).s,
			text_short(thread->migrations).s, end});
}

static int add_json(struct table *table, const struct intro_thread *thread)
{
	struct json_object *object = json_thread(thread);
	const char *text =
		object ? json_object_to_json_string_ext(
				 object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
		       : NULL;
	int rc = text ? table_add(table, 0, &text) : -ENOMEM;

	json_object_put(object);
	return rc;
}

static uint64_t key_of(const struct intro_thread *thread, enum render_threads_order order)
{
	switch (order) {
	case THREADS_BY_RUNNABLE:
		return thread->states_ns[INTRO_STATE_RUNNABLE];
	case THREADS_BY_BLOCKED:
		return thread->states_ns[INTRO_STATE_BLOCKED];
	case THREADS_BY_SWITCHES:
		return thread->voluntary + thread->involuntary;
	case THREADS_BY_MIGRATIONS:
		return thread->migrations;
	case THREADS_BY_TID:
		return UINT64_MAX - thread->tid;
	default:
		return thread->states_ns[INTRO_STATE_RUNNING];
	}
}

static int compare(const void *left, const void *right, void *ctx)
{
	const struct intro_thread *a = ((const struct entry *)left)->thread;
	const struct intro_thread *b = ((const struct entry *)right)->thread;
	enum render_threads_order order = *(const enum render_threads_order *)ctx;
	uint64_t x = key_of(a, order), y = key_of(b, order);
	int name = order == THREADS_BY_NAME ? strncmp(a->name, b->name, INTRO_COMM_BYTES) : 0;

	if (name)
		return name;
	if (order != THREADS_BY_NAME && x != y)
		return x > y ? -1 : 1;
	if (a->tid != b->tid)
		return a->tid < b->tid ? -1 : 1;
	return a->start_time < b->start_time ? -1 : a->start_time > b->start_time;
}

static bool in_pool(const struct intro_report *report, uint32_t pool, const char *wanted)
{
	char number[16];

	snprintf(number, sizeof(number), "%" PRIu32, pool);
	if (!pool)
		return false;
	if (!strcmp(number, wanted))
		return true;
	for (size_t i = 0; i < report->pools_n; i++)
		if (report->pools[i].pool.id == pool)
			return !strcmp(report->pools[i].pool.name, wanted);
	return false;
}

static bool wanted(const struct intro_report *report, const struct intro_thread *thread,
		   const struct render_threads_options *options)
{
	if (!thread->target && !options->all)
		return false;
	if (options->pid && thread->pid != options->pid)
		return false;
	return !options->pool || in_pool(report, thread->pool, options->pool);
}

/* --- the tree: a process under its parent, a process's other threads under its first ---------- */

#define NO_ENTRY SIZE_MAX

struct link {
	uint32_t pid; /* of a process's first thread; leaders[] is sorted by it */
	size_t entry;
};

struct tree {
	const struct list *list;
	struct link *leaders;
	size_t leaders_n;
	/* of each entry */
	size_t *parent, *child, *sibling;
};

static int by_pid(const void *left, const void *right)
{
	const struct link *a = left, *b = right;

	if (a->pid != b->pid)
		return a->pid < b->pid ? -1 : 1;
	return a->entry < b->entry ? -1 : a->entry > b->entry;
}

static size_t parent_of(const struct tree *tree, size_t entry)
{
	const struct intro_thread *thread = tree->list->entries[entry].thread;
	bool leader = thread->tid == thread->pid;
	struct link key = {.pid = leader ? thread->ppid : thread->pid};
	size_t low = 0, high = tree->leaders_n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (tree->leaders[middle].pid < key.pid)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == tree->leaders_n || tree->leaders[low].pid != key.pid ||
	    tree->leaders[low].entry == entry)
		return NO_ENTRY;
	return tree->leaders[low].entry;
}

static void link_entries(struct tree *tree)
{
	size_t n = tree->list->n;

	for (size_t i = 0; i < n; i++) {
		const struct intro_thread *thread = tree->list->entries[i].thread;

		if (thread->tid == thread->pid)
			tree->leaders[tree->leaders_n++] = (struct link){thread->pid, i};
		tree->child[i] = tree->sibling[i] = NO_ENTRY;
	}
	qsort(tree->leaders, tree->leaders_n, sizeof(*tree->leaders), by_pid);
	/* From the last, so that siblings stand in the order of the list. */
	for (size_t i = n; i-- > 0;) {
		size_t parent = parent_of(tree, i);

		tree->parent[i] = parent;
		if (parent == NO_ENTRY)
			continue;
		tree->sibling[i] = tree->child[parent];
		tree->child[parent] = i;
	}
}

/* Everything below and with `root`, depth first. */
static void walk(const struct tree *tree, size_t root, struct list *out)
{
	size_t at = root;
	unsigned depth = 0;

	for (;;) {
		struct entry *entry = &tree->list->entries[at];

		entry->shown = true;
		out->entries[out->n++] = (struct entry){entry->thread, depth, true};
		if (tree->child[at] != NO_ENTRY) {
			at = tree->child[at];
			depth++;
			continue;
		}
		while (at != root && tree->sibling[at] == NO_ENTRY) {
			at = tree->parent[at];
			depth--;
		}
		if (at == root)
			return;
		at = tree->sibling[at];
	}
}

static int make_tree(struct list *list)
{
	size_t n = list->n + 1;
	struct list out = {calloc(n, sizeof(struct entry)), 0};
	struct tree tree = {.list = list,
			    .leaders = calloc(n, sizeof(struct link)),
			    .parent = calloc(n, sizeof(size_t)),
			    .child = calloc(n, sizeof(size_t)),
			    .sibling = calloc(n, sizeof(size_t))};
	bool made = out.entries && tree.leaders && tree.parent && tree.child && tree.sibling;

	if (made) {
		link_entries(&tree);
		for (size_t i = 0; i < list->n; i++)
			if (tree.parent[i] == NO_ENTRY)
				walk(&tree, i, &out);
		/* Numbers from a file can make a ring of parents, which nothing leads into. */
		for (size_t i = 0; i < list->n; i++)
			if (!list->entries[i].shown)
				out.entries[out.n++] =
					(struct entry){list->entries[i].thread, 0, true};
	}
	free(tree.leaders);
	free(tree.parent);
	free(tree.child);
	free(tree.sibling);
	free(made ? list->entries : out.entries);
	if (made)
		*list = out;
	return made ? 0 : -ENOMEM;
}

/* --------------------------------------------------------------------------------------------- */

static int fill(struct list *list, const struct intro_report *report,
		const struct render_threads_options *options)
{
	enum render_threads_order order = options->order;

	list->entries = calloc(report->threads_n + 1, sizeof(*list->entries));
	if (!list->entries)
		return -ENOMEM;
	for (size_t i = 0; i < report->threads_n; i++)
		if (wanted(report, &report->threads[i], options))
			list->entries[list->n++].thread = &report->threads[i];
	qsort_r(list->entries, list->n, sizeof(*list->entries), compare, &order);
	return options->tree ? make_tree(list) : 0;
}

int render_threads(const struct render *render, const struct intro_report *report,
		   const struct render_threads_options *options)
{
	struct list list = {NULL, 0};
	struct table *table = options->json ? table_new(line, 1) : table_new(columns, COLUMNS);
	int rc = table ? fill(&list, report, options) : -ENOMEM;
	size_t n = options->top && options->top < list.n ? options->top : list.n;

	for (size_t i = 0; !rc && i < n; i++)
		rc = options->json ? add_json(table, list.entries[i].thread)
				   : add_text(table, &list.entries[i], render->utf8);
	if (!rc && options->json)
		table_print_lines(table, render->out);
	else if (!rc)
		table_print(table, render, 0);
	if (!rc && !options->json && n < list.n)
		fprintf(render->out, "and %s\n", text_plural(list.n - n, "more thread").s);
	if (!rc && !options->json && report->others_n)
		fprintf(render->out, "and %s, summed: running %s\n",
			text_plural(report->others_n, "thread").s,
			text_ns(report->others.states_ns[INTRO_STATE_RUNNING]).s);
	free(list.entries);
	table_free(table);
	return rc;
}
