"""Log lines to a standard error that is slow, stopped, full or gone."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from can_stream.standard_error import StandardErrorHandler

SMALL_PIPE_BYTES = 4096


@contextmanager
def logging_to(descriptor: int) -> Iterator[logging.Logger]:
    handler = StandardErrorHandler(descriptor)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("it")
    logger.addHandler(handler)
    yield logger


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A small one: its reading and writing end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL_PIPE_BYTES)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def read_lines(reading: int) -> list[str]:
    return os.read(reading, 1 << 20).decode().splitlines()


def test_a_pipe_that_nobody_reads_delays_the_first_line_by_half_a_second_and_no_other() -> None:
    with pipe() as (reading, writing), logging_to(writing) as logger:
        began = time.monotonic()
        for _ in range(1_000):
            logger.info("a line of which there are many")
        assert time.monotonic() - began < 5.0, "who logs waits"
        taken = read_lines(reading)
        assert set(taken) == {"INFO it: a line of which there are many"}
        logger.info("now somebody reads")
        assert read_lines(reading) == [
            f"WARNING can_stream.standard_error: {1_000 - len(taken)} lines of this log are missing here: "
            "nobody took them",
            "INFO it: now somebody reads",
        ]
        logger.info("and goes on")
        assert read_lines(reading) == ["INFO it: and goes on"]


def test_a_reader_that_is_slow_gets_all_of_it() -> None:
    with pipe() as (reading, writing), logging_to(writing) as logger:
        found = list[bytes]()

        def read() -> None:
            while sum(map(len, found)) < 300 * 110:
                time.sleep(0.001)
                found.append(os.read(reading, 500))

        reader = threading.Thread(target=read)
        reader.start()
        for n in range(300):
            logger.info("%0100d", n)  # 110 bytes with what stands around it
        reader.join(30)
        lines = b"".join(found).decode().splitlines()
        assert lines == [f"INFO it: {n:0100d}" for n in range(300)]


def test_a_line_longer_than_the_pipe_stops_nobody() -> None:
    with pipe() as (_, writing), logging_to(writing) as logger:
        began = time.monotonic()
        logger.error("x" * 100_000)
        assert time.monotonic() - began < 5.0


def test_what_fails_for_good_stops_nobody_and_is_not_told_elsewhere() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    reading, broken = os.pipe()
    os.close(reading)
    try:
        for descriptor in (full, broken):
            with logging_to(descriptor) as logger:
                for _ in range(100):
                    logger.warning("nowhere to go")
    finally:
        os.close(full)
        os.close(broken)


def test_what_no_encoding_has_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, logging_to(file.fileno()) as logger:
        logger.info("a name of a file: %s", os.fsdecode(b"\xff.log"))
    assert path.read_text() == "INFO it: a name of a file: \\udcff.log\n"
