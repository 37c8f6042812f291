/* SPDX-License-Identifier: BSD-2-Clause */
/* For cppcheck, which does not read system headers: the loops of sys/queue.h. */
#define TAILQ_FOREACH(var, head, field)                                                            \
	for ((var) = (head)->tqh_first; (var); (var) = (var)->field.tqe_next)
