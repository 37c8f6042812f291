/* SPDX-License-Identifier: BSD-2-Clause */
#include "rt_manager.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/manager_private.h"

struct intro_manager *m;

int manager_setup(void **state)
{
	m = intro_manager_new(NULL);
	return !m;
}

int manager_teardown(void **state)
{
	intro_manager_free(m);
	return count_children() != 0;
}

uint64_t make(enum intro_manager_kind kind, uint64_t capacity)
{
	uint64_t object = 0;

	assert_int_equal(intro_manager_make(m, kind, capacity, &object), 0);
	assert_int_not_equal(object, 0);
	return object;
}

void is_text(int err, void *data, size_t size, const char *text)
{
	assert_int_equal(err, 0);
	assert_int_equal(size, strlen(text));
	assert_memory_equal(data, text, size);
	free(data);
}

size_t length(uint64_t object)
{
	size_t n = SIZE_MAX;

	assert_int_equal(intro_manager_length(m, object, &n), 0);
	return n;
}

int append(uint64_t list, const char *text)
{
	return intro_manager_list_append(m, list, text, strlen(text));
}

void reap(pid_t pid, int status)
{
	int got;

	assert_int_equal(waitpid(pid, &got, 0), pid);
	assert_int_equal(got, status);
}

void *manager_waits_for_item(void *arg)
{
	size_t size;
	void *data;

	return (void *)(intptr_t)intro_manager_queue_get(m, *(uint64_t *)arg, &data, &size,
							 INTRO_FOREVER);
}

int manager_raw_connect(int *code)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	const char *address = intro_manager_address(m) + 1;
	struct {
		struct packet packet;
		struct manager_reply reply;
	} hello;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(name.sun_path + 1, address);
	if (connect(fd, (struct sockaddr *)&name,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address))) ||
	    recv(fd, &hello, sizeof(hello), 0) != (ssize_t)sizeof(hello))
		abort();
	*code = hello.reply.code;
	return fd;
}

pid_t manager_pid(void)
{
	int fd, code;
	struct ucred who;
	socklen_t n = sizeof(who);

	fd = manager_raw_connect(&code);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n), 0);
	close(fd);
	return who.pid;
}
