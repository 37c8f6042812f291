/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_LEDGER_CHECK_H
#define TESTS_UNIT_LEDGER_CHECK_H
/* ledger_check.h - what must hold of every ledger and every thread, whatever the trace. */
#include <introspect/replay.h>

void check_ledger(const struct intro_ledger *ledger);
void check_task(const struct intro_task *task);
void check_thread(const struct intro_thread *thread);

#endif
