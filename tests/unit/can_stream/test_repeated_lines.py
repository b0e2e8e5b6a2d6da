"""A log that somebody wants to fill."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from can_stream.repeated_lines import PACE, TRACEBACK_WEIGHT, RepeatedLines


class Written(logging.Handler):
    """What a handler writes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.now_seconds = 0.0
        self.limit = RepeatedLines(self, lambda: self.now_seconds)
        self.addFilter(self.limit)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def written() -> Iterator[Written]:
    handler = Written()
    logger = logging.getLogger("crowd")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_what_repeats_is_summed_up_and_what_does_not_is_written(written: Written) -> None:
    logger = logging.getLogger("crowd")
    for number in range(1_000):
        logger.warning("connection of %s refused", number)
    logger.warning("disk is full")
    assert len(written.lines) == PACE.first + 1
    assert written.lines[-1] == "disk is full"
    written.limit.tell(60.0)
    assert written.lines[-1] == "900 more like this within a minute, the last: connection of 999 refused"


def test_lines_whose_words_are_all_their_own_are_told_apart_by_more_than_their_numbers(
    written: Written,
) -> None:
    for number in range(1_000):
        logging.getLogger("crowd").error(f"Task-{number} failed\n<future {number * 7}>")
    assert len(written.lines) == PACE.first


def test_tracebacks_are_few_and_one_of_another_cause_is_written(written: Written) -> None:
    for cause in (ValueError, KeyError):
        for _ in range(100):
            try:
                raise cause
            except cause:
                logging.getLogger("crowd").exception("failed")
    assert len(written.lines) == 2 * PACE.first // TRACEBACK_WEIGHT


def test_debug_lines_are_asked_for(written: Written) -> None:
    for _ in range(1_000):
        logging.getLogger("crowd").debug("frame")
    assert len(written.lines) == 1_000


def test_a_program_that_ends_says_what_it_has_not_said() -> None:
    code = """if True:
        import logging
        from can_stream.service_manager import log_to_standard_error
        log_to_standard_error(logging.INFO)
        for number in range(1000):
            logging.getLogger("it").warning("line %d", number)
    """
    said = subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE, text=True).stderr
    lines = said.splitlines()
    assert len(lines) == PACE.first + 1
    assert lines[-1] == "WARNING it: 900 more like this within a minute, the last: line 999"
