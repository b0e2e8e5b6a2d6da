"""How many connections there may be."""

import subprocess
import sys

from stream_server.descriptors import room_below

RUN = """
import resource
from stream_server.descriptors import connections_possible
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(connections_possible(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def _possible(soft: int, hard: int) -> list[str]:
    code = RUN.format(soft=soft, hard=hard)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_the_limit_is_raised_as_far_as_it_has_to_be() -> None:
    assert _possible(256, 4096) == ["1000", "1512"]


def test_a_low_limit_leaves_room_for_files() -> None:
    assert _possible(256, 1024) == ["512", "1024"]
    assert room_below(100) == 50
