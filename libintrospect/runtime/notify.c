/* SPDX-License-Identifier: BSD-2-Clause */
/* notify.c - the datagrams of sd_notify(3): one line to the socket that systemd names. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "service_private.h"

int intro__notify(const char *socket_name, const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = strlen(socket_name);
	int fd, err = 0;

	if (!n)
		return 0;
	if ((*socket_name != '/' && *socket_name != '@') || n >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, socket_name, n);
	if (*socket_name == '@')
		address.sun_path[0] = 0; /* abstract: no file */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		err = -errno;
	close(fd);
	return err;
}
