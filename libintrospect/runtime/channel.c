/* SPDX-License-Identifier: BSD-2-Clause */
/* channel.c - channels between fibers and threads. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fiber_private.h"
#include "futex.h"

struct intro_channel {
	pthread_mutex_t lock; /* guards all; never held across a switch of fibers */
	bool closed;
	size_t item_bytes, capacity;
	size_t first, n; /* in ring */
	/* who waits, each with its item; of one kind at most, but for a full channel's senders */
	struct parking_list senders, receivers;
	unsigned char ring[];
};

struct intro_channel *intro_channel_new(size_t item_bytes, size_t capacity)
{
	struct intro_channel *channel;
	size_t bytes;

	if (!item_bytes) {
		errno = EINVAL;
		return NULL;
	}
	if (__builtin_mul_overflow(item_bytes, capacity, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof(*channel), &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	channel = calloc(1, bytes);
	if (!channel)
		return NULL;
	channel->item_bytes = item_bytes;
	channel->capacity = capacity;
	pthread_mutex_init(&channel->lock, NULL);
	return channel;
}

void intro_channel_free(struct intro_channel *channel)
{
	if (!channel)
		return;
	pthread_mutex_destroy(&channel->lock);
	free(channel);
}

static void copy(const struct intro_channel *channel, void *to, const void *from)
{
	memcpy(to, from, channel->item_bytes);
}

static unsigned char *slot(struct intro_channel *channel, size_t index)
{
	return channel->ring + (channel->first + index) % channel->capacity * channel->item_bytes;
}

/* lock is held. */
static void tell(struct parking_list *list, int result)
{
	struct parking *parking = list->first;

	intro__parking_unlink(list, parking);
	parking->result = result;
	intro__unpark(parking);
}

/* lock is held, and is released. */
static int wait_in(struct intro_channel *channel, struct parking_list *list, void *item,
		   int64_t timeout_ns)
{
	struct parking parking;
	int result;

	if (timeout_ns <= 0) {
		pthread_mutex_unlock(&channel->lock);
		return -ETIMEDOUT;
	}
	intro__parking_init(&parking);
	parking.item = item;
	intro__parking_link(list, &parking);
	pthread_mutex_unlock(&channel->lock);
	intro__park(&parking, intro__deadline(timeout_ns));
	pthread_mutex_lock(&channel->lock);
	result = parking.result;
	if (parking.linked) {
		intro__parking_unlink(list, &parking);
		result = -ETIMEDOUT;
	}
	pthread_mutex_unlock(&channel->lock);
	return result;
}

int intro_channel_send(struct intro_channel *channel, const void *item, int64_t timeout_ns)
{
	int result = 0;

	pthread_mutex_lock(&channel->lock);
	if (channel->closed) {
		result = -EPIPE;
	} else if (channel->receivers.first) {
		copy(channel, channel->receivers.first->item, item);
		tell(&channel->receivers, 0);
	} else if (channel->n < channel->capacity) {
		copy(channel, slot(channel, channel->n), item);
		channel->n++;
	} else {
		return wait_in(channel, &channel->senders, (void *)(uintptr_t)item, timeout_ns);
	}
	pthread_mutex_unlock(&channel->lock);
	return result;
}

/* lock is held; an item is there. */
static void take(struct intro_channel *channel, void *item)
{
	struct parking *sender = channel->senders.first;

	if (!channel->n) {
		copy(channel, item, sender->item);
		tell(&channel->senders, 0);
		return;
	}
	copy(channel, item, slot(channel, 0));
	channel->first = (channel->first + 1) % channel->capacity;
	channel->n--;
	if (!sender)
		return;
	copy(channel, slot(channel, channel->n), sender->item);
	channel->n++;
	tell(&channel->senders, 0);
}

int intro_channel_receive(struct intro_channel *channel, void *item, int64_t timeout_ns)
{
	int result = 0;

	pthread_mutex_lock(&channel->lock);
	if (channel->n || channel->senders.first)
		take(channel, item);
	else if (channel->closed)
		result = -EPIPE;
	else
		return wait_in(channel, &channel->receivers, item, timeout_ns);
	pthread_mutex_unlock(&channel->lock);
	return result;
}

int intro_channel_close(struct intro_channel *channel)
{
	int result = 0;

	pthread_mutex_lock(&channel->lock);
	if (channel->closed)
		result = -EALREADY;
	channel->closed = true;
	while (channel->receivers.first)
		tell(&channel->receivers, -EPIPE);
	while (channel->senders.first)
		tell(&channel->senders, -EPIPE);
	pthread_mutex_unlock(&channel->lock);
	return result;
}

size_t intro_channel_length(struct intro_channel *channel)
{
	size_t n;

	pthread_mutex_lock(&channel->lock);
	n = channel->n;
	pthread_mutex_unlock(&channel->lock);
	return n;
}
