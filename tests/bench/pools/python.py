#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Python's executors and multiprocessing.Pool, measured as pools.h and processes.c do."""
import concurrent.futures
import multiprocessing
import time

WORKERS = 2
TASKS = 4000
MAPPED = 20000
SINGLES = 500
LARGE = 64 << 20
MEDIUM = 1 << 20


def empty(_=None):
    pass


def stamp():
    return time.monotonic_ns()


def square(x):
    return x * x


def rate(executor, fn, n):
    begin = time.monotonic()
    concurrent.futures.wait([executor.submit(fn, i) for i in range(n)])
    return n / (time.monotonic() - begin)


def start(executor):
    waited = []
    for _ in range(SINGLES):
        begin = time.monotonic_ns()
        waited.append(executor.submit(stamp).result() - begin)
    return sorted(waited)[SINGLES // 2]


def mapped(pool, chunk):
    begin = time.monotonic()
    pool.map(square, range(MAPPED), chunk)
    return MAPPED / (time.monotonic() - begin)


DATA = {size: b"x" * size for size in (LARGE, MEDIUM)}


def give_back(size):
    return DATA[size]


def payloads(executor, n, size, fn, argument):
    concurrent.futures.wait([executor.submit(fn, argument) for _ in range(n)])
    begin = time.monotonic()
    concurrent.futures.wait([executor.submit(fn, argument) for _ in range(n)])
    return n * size / 1e6 / (time.monotonic() - begin)


def main():
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as executor:
        print("batch", rate(executor, empty, TASKS))
        print("start", start(executor))
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as executor:
        rate(executor, square, 100)
        print("process_batch", rate(executor, square, TASKS))
        print("process_start", start(executor))
        for name, n, size in (("large", 4, LARGE), ("medium", 64, MEDIUM)):
            print(name, payloads(executor, n, size, empty, DATA[size]))
            print(name + "_results", payloads(executor, n, size, give_back, size))
    with multiprocessing.Pool(WORKERS) as pool:
        mapped(pool, 1000)
        print("map_1", mapped(pool, 1))
        print("map_1000", mapped(pool, 1000))


if __name__ == "__main__":
    main()
