// SPDX-License-Identifier: BSD-2-Clause
/* placement.c - see placement.h; and what a replay books to it. */
#include <stdlib.h>
#include <string.h>

#include "analyze/state.h"

static size_t words_of(uint32_t nodes)
{
	return 2 * (size_t)nodes;
}

struct intro_placement *intro_placement_new(const struct intro_topology *topology)
{
	uint32_t nodes = topology ? (uint32_t)topology->nodes_n : 0;
	struct intro_placement *placement =
		calloc(1, sizeof(*placement) + words_of(nodes) * sizeof(uint64_t));

	if (placement) {
		placement->topology = topology;
		placement->nodes = nodes;
	}
	return placement;
}

struct intro_placement *intro_placement_copy(const struct intro_placement *placement)
{
	struct intro_placement *copy = intro_placement_new(placement->topology);

	if (copy)
		memcpy(copy, placement,
		       sizeof(*copy) + words_of(placement->nodes) * sizeof(uint64_t));
	return copy;
}

/* Every member but the topology is a count. */
static void add(struct intro_placement *sum, const struct intro_placement *placement, uint64_t sign)
{
	for (int i = 0; i < INTRO_MOVES; i++) {
		sum->moves[i] += sign * placement->moves[i];
		sum->move_wait_ns[i] += sign * placement->move_wait_ns[i];
	}
	for (int i = 0; i < INTRO_DECISIONS; i++)
		sum->decisions[i] += sign * placement->decisions[i];
	sum->local_pages += sign * placement->local_pages;
	sum->remote_pages += sign * placement->remote_pages;
	sum->unplaced_pages += sign * placement->unplaced_pages;
	sum->hinted_local += sign * placement->hinted_local;
	sum->hinted_remote += sign * placement->hinted_remote;
	sum->balanced_pages += sign * placement->balanced_pages;
	sum->moved_pages += sign * placement->moved_pages;
	sum->elsewhere_ns += sign * placement->elsewhere_ns;
	for (size_t i = 0; i < words_of(sum->nodes); i++)
		sum->by_node[i] += sign * placement->by_node[i];
}

void intro_placement_add(struct intro_placement *sum, const struct intro_placement *placement)
{
	add(sum, placement, 1);
}

void intro_placement_subtract(struct intro_placement *sum, const struct intro_placement *placement)
{
	add(sum, placement, UINT64_MAX); /* times -1 */
}

uint64_t intro_placement_moved(const struct intro_placement *placement)
{
	uint64_t sum = 0;

	for (int i = 0; i < INTRO_MOVES; i++)
		sum += placement->moves[i];
	return sum;
}

static int largest(const uint64_t *values, uint32_t n)
{
	int at = INTRO_NODE_NONE;

	for (uint32_t i = 0; i < n; i++)
		if (values[i] && (at < 0 || values[i] > values[at]))
			at = (int)i;
	return at;
}

int intro_placement_home(const struct intro_placement *placement)
{
	int home = largest(placement->by_node + placement->nodes, placement->nodes);

	return home < 0 ? largest(placement->by_node, placement->nodes) : home;
}

uint64_t intro_placement_apart(const struct intro_placement *placement)
{
	uint64_t pages = 0;
	double apart = 0;

	for (uint32_t i = 0; i < placement->nodes; i++)
		pages += intro_placement_pages(placement, i);
	for (uint32_t i = 0; pages && i < placement->nodes; i++)
		apart += (double)intro_placement_ran(placement, i) *
			 (double)(pages - intro_placement_pages(placement, i)) / (double)pages;
	return (uint64_t)apart;
}

/* --- booking -----------------------------------------------------------------------------------
 */

void intro__place_on(const struct intro_replay *replay, struct thread *thread, uint32_t cpu)
{
	const struct intro_topology *topology = replay->options.topology;

	thread->node = topology ? intro_topology_node_of_cpu(topology, cpu) : INTRO_NODE_NONE;
}

void intro__place_ran(struct thread *thread, uint64_t ns)
{
	struct intro_placement *placement = thread->placement;

	if (thread->node >= 0)
		placement->by_node[thread->node] += ns;
	else
		placement->elsewhere_ns += ns;
}

/* Waiting since the last move ends now: at its turn, or by another move. */
static void move_ends(const struct intro_replay *replay, struct thread *thread)
{
	uint64_t from = max_u64(thread->moved_at, thread->since);

	if (thread->moved && thread->state == INTRO_STATE_RUNNABLE && !thread->uncertain)
		thread->placement->move_wait_ns[thread->move] += replay->now - from;
	thread->moved = false;
}

void intro__place_moved(const struct intro_replay *replay, struct thread *thread, uint32_t from,
			uint32_t to)
{
	const struct intro_topology *topology = replay->options.topology;

	move_ends(replay, thread);
	thread->move = topology ? intro_topology_move(topology, from, to) : INTRO_MOVE_UNKNOWN;
	thread->moved = true;
	thread->moved_at = replay->now;
	thread->placement->moves[thread->move]++;
}

void intro__place_arrived(const struct intro_replay *replay, struct thread *thread, uint32_t cpu)
{
	if (thread->moved)
		move_ends(replay, thread);
	else if (thread->last_cpu != CPU_NOWHERE && thread->last_cpu != (int32_t)cpu)
		intro__place_moved(replay, thread, (uint32_t)thread->last_cpu, cpu);
	thread->moved = false;
}

static void book_given(const struct intro_replay *replay, struct thread *thread, int on, int from,
		       uint64_t pages)
{
	struct intro_placement *placement = thread->placement;

	if (from >= 0)
		placement->by_node[placement->nodes + (uint32_t)from] += pages;
	if (on < 0 || from < 0)
		placement->unplaced_pages += pages;
	else if (on == from)
		placement->local_pages += pages;
	else
		placement->remote_pages += pages;
	if (replay->sink.pages && on >= 0 && from >= 0)
		replay->sink.pages(replay->sink.ctx, (uint32_t)on, (uint32_t)from, pages);
}

void intro__place_pages(struct intro_replay *replay, const struct intro_rec_pages *rec)
{
	const struct intro_topology *topology = replay->options.topology;
	struct thread *thread = intro__thread_find(replay, rec->rec.tid);
	int on = topology ? intro_topology_node_of_cpu(topology, rec->rec.cpu) : INTRO_NODE_NONE;
	int from = topology ? intro_topology_place(topology, rec->node) : INTRO_NODE_NONE;

	if (!thread) {
		intro__strange(replay);
		return;
	}
	switch (rec->what) {
	case INTRO_PAGES_GIVEN:
		book_given(replay, thread, on, from, rec->pages);
		break;
	case INTRO_PAGES_HINTED:
		if (on >= 0 && on == from)
			thread->placement->hinted_local += rec->pages;
		else
			thread->placement->hinted_remote += rec->pages;
		break;
	case INTRO_PAGES_BALANCED:
		thread->placement->hinted_remote += rec->pages;
		thread->placement->balanced_pages += rec->pages;
		break;
	case INTRO_PAGES_MOVED:
		thread->placement->moved_pages += rec->pages;
		break;
	default:
		intro__strange(replay);
	}
}

void intro__place_decided(struct intro_replay *replay, const struct intro_rec_numa *rec)
{
	struct thread *thread = intro__thread_find(replay, rec->rec.tid);

	if (!thread || rec->decision < INTRO_NUMA_MOVED || rec->decision > INTRO_NUMA_SWAPPED) {
		intro__strange(replay);
		return;
	}
	thread->placement->decisions[rec->decision - INTRO_NUMA_MOVED]++;
}
