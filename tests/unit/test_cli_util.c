// SPDX-License-Identifier: BSD-2-Clause
/* test_cli_util.c - numbers from the command line, files that are made, and which trace is the
 * newest. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../cli/cli.h"

static void test_numbers(void **state)
{
	static const char *const bad[] = {"",  "x", "1x", " 1", "+1", "-1", "18446744073709551616",
					  "11"};
	uint64_t value = 7;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_number(bad[i], 1, 10, &value), -EINVAL);
	assert_int_equal(value, 7);
	assert_int_equal(cli_parse_number("10", 1, 10, &value), 0);
	assert_int_equal(value, 10);
	assert_int_equal(cli_parse_number("18446744073709551615", 0, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
}

static void test_seconds(void **state)
{
	static const char *const bad[] = {"",	 "0",	".",   "0.0", "-1",    "nan",
					  "inf", "1e3", "0x1", "1 ",  "1.2.3", "99999999999"};
	uint64_t ns;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_seconds(bad[i], &ns), -EINVAL);
	assert_int_equal(cli_parse_seconds("0.5", &ns), 0);
	assert_int_equal(ns, 500000000);
	assert_int_equal(cli_parse_seconds("3", &ns), 0);
	assert_int_equal(ns, 3000000000);
}

static void test_bytes(void **state)
{
	static const char *const bad[] = {"", "k", "-4k", "4kk", "4T", "18446744073709551615k"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cli_parse_bytes(bad[i], &bytes), -EINVAL);
	assert_int_equal(cli_parse_bytes("4096", &bytes), 0);
	assert_int_equal(bytes, 4096);
	assert_int_equal(cli_parse_bytes("64k", &bytes), 0);
	assert_int_equal(bytes, 65536);
	assert_int_equal(cli_parse_bytes("2M", &bytes), 0);
	assert_int_equal(bytes, 2 << 20);
	assert_int_equal(cli_parse_bytes("1G", &bytes), 0);
	assert_int_equal(bytes, 1 << 30);
}

static void test_choice(void **state)
{
	static const char *const choices[] = {"one", "two", NULL};

	assert_int_equal(cli_parse_choice("two", choices), 1);
	assert_int_equal(cli_parse_choice("tw", choices), -1);
	assert_int_equal(cli_parse_choice("", choices), -1);
}

/* --- files -------------------------------------------------------------------------------------
 */

/* Every test of files has an empty directory of its own as the current one. */
static int enter_directory(void **state)
{
	char *path = strdup("/tmp/introspect-test-XXXXXX");

	*state = path;
	return path && mkdtemp(path) ? chdir(path) : -1;
}

static int leave_directory(void **state)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	int rc;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			remove(entry->d_name);
	closedir(dir);
	rc = chdir("/") || rmdir(*state);
	free(*state);
	return rc;
}

static void touch(const char *name, time_t when)
{
	struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
	int fd = open(name, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
}

static void test_newest(void **state)
{
	char path[256];

	assert_int_equal(cli_newest_trace(path, sizeof(path)), -ENOENT);
	touch("introspect-a.itr", 1000);
	touch("introspect-b.itr", 3000);
	touch("introspect-c.itr", 2000);
	touch("other.itr", 9000);
	touch("introspect-d.txt", 9000);
	assert_int_equal(mkdir("introspect-e.itr", 0700), 0);
	assert_int_equal(symlink("other.itr", "introspect-f.itr"), 0);
	assert_int_equal(cli_newest_trace(path, sizeof(path)), 0);
	assert_string_equal(path, "introspect-b.itr");
	/* of the same time: the last by name, whatever the directory's order */
	touch("introspect-bb.itr", 3000);
	assert_int_equal(cli_newest_trace(path, sizeof(path)), 0);
	assert_string_equal(path, "introspect-bb.itr");
}

static void test_output(void **state)
{
	struct cli_output output;
	struct stat st;

	assert_int_equal(cli_output_create(&output, "x.itr", 0600), CLI_OK);
	assert_true(output.fd >= 0);
	assert_int_equal(stat("x.itr", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	cli_output_remove(&output);
	assert_int_equal(stat("x.itr", &st), -1);
	/* Once more: there is nothing left to do. */
	cli_output_remove(&output);

	/* What somebody put there meanwhile is not ours to remove. */
	assert_int_equal(cli_output_create(&output, "x.itr", 0600), CLI_OK);
	assert_int_equal(rename("x.itr", "moved"), 0);
	touch("x.itr", 1);
	cli_output_remove(&output);
	assert_int_equal(stat("x.itr", &st), 0);

	assert_int_equal(cli_output_create(&output, "./y.itr", 0600), CLI_OK);
	cli_output_close(&output);
	assert_int_equal(stat("y.itr", &st), 0);
}

static void test_output_named(void **state)
{
	struct cli_output first, second, third;

	assert_int_equal(cli_output_create_named(&first, "/usr/bin/a b;c", 0600), CLI_OK);
	assert_memory_equal(first.path, "introspect-a_b_c-20", 19);
	assert_string_equal(strrchr(first.path, '.'), ".itr");
	/* Within one second names do not collide. */
	assert_int_equal(cli_output_create_named(&second, "a b;c", 0600), CLI_OK);
	assert_int_equal(cli_output_create_named(&third, "..", 0600), CLI_OK);
	assert_memory_equal(third.path, "introspect-..-20", 16);
	assert_string_not_equal(first.path, second.path);
	cli_output_close(&first);
	cli_output_close(&second);
	cli_output_close(&third);
}

static void test_command_status(void **state)
{
	char *argv[] = {NULL};
	struct cli_recording recording = {.options.argv = argv};

	assert_int_equal(cli_recording_status(&recording, CLI_OK), CLI_OK);
	recording.stats.exit_status = 7 << 8;
	assert_int_equal(cli_recording_status(&recording, CLI_OK), 7);
	assert_int_equal(cli_recording_status(&recording, CLI_DAMAGED), 7);
	assert_int_equal(cli_recording_status(&recording, CLI_FAILED), CLI_FAILED);
	recording.stats.exit_status = 9;
	assert_int_equal(cli_recording_status(&recording, CLI_OK), 137);
	recording.options.argv = NULL;
	assert_int_equal(cli_recording_status(&recording, CLI_OK), CLI_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_choice),
		cmocka_unit_test_setup_teardown(test_newest, enter_directory, leave_directory),
		cmocka_unit_test_setup_teardown(test_output, enter_directory, leave_directory),
		cmocka_unit_test_setup_teardown(test_output_named, enter_directory,
						leave_directory),
		cmocka_unit_test(test_command_status),
	};

	/* The rights of a user behind sudo are a test of their own, under root. */
	unsetenv("SUDO_UID");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
