"""The rules of the house, as docs/architecture.md states them, and that each of them bites."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Final

import pytest

from tests.helpers.architecture import PAGE, faults, read_house

ROOT: Final = Path(__file__).resolve().parents[2]
GATE: Final = "edge_agent/lanes/gate.py"
RING: Final = "stream_server/streams/ring.py"
SLOTS: Final = "can_stream/frames/slots.py"
CLOCK: Final = "edge_agent/host/clock.py"
FOR_TYPES: Final = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
METHODS: Final = "\n".join(f"    def method_{number}(self) -> None: ..." for number in range(13))
MORE_METHODS: Final = METHODS.replace("method_", "another_")
FIELDS: Final = "\n".join(f"    field_{number}: int" for number in range(21))

REFUSED: Final = [
    (RING, "from stream_server.storage import database", "stream_server.storage.database, which does I/O"),
    (RING, "from stream_server.storage import database", "no arrow streams -> storage"),
    (RING, "import stream_server.storage.database", "stream_server.storage.database, which does I/O"),
    (RING, "from stream_server import storage", "imports the folder stream_server.storage"),
    (RING, "import stream_server", "imports the folder stream_server"),
    (GATE, "from edge_agent.bus import socketcan", "edge_agent.bus.socketcan, which does I/O"),
    (GATE, "from can_stream.service_manager import ServiceManager", "service_manager, which does I/O"),
    (GATE, "from can_stream.strict_config import load", "strict_config.reading, which does I/O"),
    *((GATE, f"import {name}", f"is pure, but imports {name}") for name in (
        "asyncio", "can", "concurrent.futures", "ctypes", "fcntl", "importlib", "os", "pathlib", "random",
        "serial", "socket", "sys", "tempfile", "threading", "time", "urllib", "urllib.request",
    )),
    (GATE, "def read() -> None:\n    import socket", "is pure, but imports socket"),
    (GATE, "from pathlib import Path", "is pure, but imports pathlib.Path"),
    (GATE, f"{FOR_TYPES}    from pathlib import Path", "is pure, but imports pathlib.Path"),
    (GATE, "from numpy import random", "is pure, but imports numpy"),
    (GATE, "open('file')", "is pure, but uses open"),
    (GATE, "datetime.now()", "is pure, but uses datetime.now"),
    (GATE, "import datetime as d\nd.datetime.now()", "is pure, but uses datetime.now"),
    (GATE, "from datetime import datetime as d\nd.now()", "is pure, but uses datetime.now"),
    (GATE, "import numpy as n\nn.load('file')", "is pure, but uses numpy.load"),
    (GATE, "import numpy as n\nn.random.default_rng()", "is pure, but uses numpy.random"),
    (GATE, "d = datetime.datetime\nd.now()", "is pure, but calls now"),
    (GATE, "numbers.tofile('file')", "is pure, but calls tofile"),
    (GATE, "from can_stream.frames.batches import *", "imports whatever can_stream.frames.batches has"),
    (CLOCK, "import edge_agent.errors\nedge_agent.spool.spool.Spool", "without saying what of it"),
    ("edge_agent/bus/reader.py", "import stream_server.nowhere", "stream_server.nowhere, which is not there"),
    ("edge_agent/__init__.py", "from edge_agent.health import bus_health", "passes on what every room"),
    ("edge_agent/lanes/nobody_lists_me.py", "import socket", "is pure, but imports socket"),
    ("edge_agent/agent.py", "import importlib", "edge_agent/agent.py: imports by name"),
    ("edge_agent/agent.py", "__import__('os')", "edge_agent/agent.py: imports by name"),
    ("edge_agent/agent.py", "from stream_server import errors", "edge_agent imports stream_server"),
    ("stream_server/app.py", "from edge_agent import errors", "stream_server imports edge_agent"),
    (SLOTS, "from edge_agent import errors", "can_stream imports edge_agent"),
    (SLOTS, "from tests.helpers import conditions", "imports tests.helpers"),
    (SLOTS, "from can_stream.text import repeats", "no arrow frames -> text"),
    (CLOCK, "from edge_agent.spool import spool", "no arrow host -> spool"),
    (CLOCK, "def late() -> None:\n    import edge_agent.spool.spool", "no arrow host -> spool"),
    (CLOCK, f"{FOR_TYPES}    from edge_agent.spool import spool", "no arrow host -> spool"),
    ("edge_agent/attic/things.py", "", "edge_agent/attic/things.py: its room is not in the table"),
    ("edge_agent/things.py", "", "edge_agent/things.py: its room is not in the table"),
    (SLOTS, "def long() -> None:\n" + "    pass\n" * 40, "long has over 40 lines"),
    (SLOTS, "#\n" * 400, "over 400 lines"),
    (SLOTS, f"class Wide:\n{FIELDS}", "Wide has over 20 attributes"),
    (SLOTS, f"class Deep:\n{METHODS}\n{MORE_METHODS}", "Deep has over 25 methods"),
    (SLOTS, f"class Low:\n{METHODS}\nclass High(Low):\n{MORE_METHODS}", "High has over 25 methods"),
    (SLOTS, f"class Busy(Struct):\n{FIELDS}\n    def act(self) -> None: ...", "Busy has over 20 attributes"),
]  # fmt: skip
CIRCLES: Final = [
    ("edge_agent/bus/reader.py", "edge_agent.agent"),
    ("stream_server/storage/database.py", "stream_server.app"),
    ("edge_agent/bus/slcan_codec.py", "edge_agent.bus.slcan"),
    ("can_stream/frames/batches.py", "can_stream.protocol.packets"),
]
ALLOWED: Final = [
    "from pathlib import PurePath",
    f"{FOR_TYPES}    import asyncio",
    f"class Row(Struct):\n{FIELDS}",
    "from can_stream.strict_config import Problem",
]
TABLES: Final = [
    ("| - | frames |", "| - | frames lanes |", "table of can_stream: lanes is not above signals"),
    ("| - | frames protocol |", "| - | frames protocol text |", "nothing uses lanes -> text"),
    ("| log_reader ", "| log_reader formats/crtd ", "crtd.py: is marked as doing I/O, but is pure"),
    ("| log_reader ", "| log_reader log_writer ", "table of can_stream: logs has no log_writer"),
    ("| log_reader ", "| ", "can_stream/logs/log_reader.py: is pure, but imports"),
    ("\n| frames |", "\n| frame |", "table of can_stream: nothing lies in frame"),
    ("\n| frames |", "\n| frame |", "can_stream/frames/batches.py: its room is not in the table"),
]


@pytest.fixture(scope="module")
def shared_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("house")
    for package in read_house(ROOT).packages:
        copytree(ROOT / package, root / package, ignore=ignore_patterns("__pycache__", "static"))
    (root / PAGE).parent.mkdir()
    (root / PAGE).write_text((ROOT / PAGE).read_text())
    return root


class House:
    """A copy of the house, to be put back after each test."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[Path, str | None] = {}

    def put(self, name: str, text: str) -> None:
        """Add the text to the end of a file, or make one of it."""
        path = self._root / name
        before = path.read_text() if path.exists() else None
        self._before.setdefault(path, before)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{before or ''}\n{text}\n")

    def replace(self, name: str, old: str, new: str) -> None:
        path = self._root / name
        text = self._before.setdefault(path, path.read_text())
        assert text is not None
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def new_faults(self) -> set[str]:
        return faults(self._root)

    def put_back(self) -> None:
        for path, text in self._before.items():
            if text is None:
                path.unlink()
            else:
                path.write_text(text)


@pytest.fixture
def house(shared_copy: Path) -> Iterator[House]:
    house = House(shared_copy)
    yield house
    house.put_back()


def test_the_house_keeps_its_rules() -> None:
    assert sorted(faults(ROOT)) == []


@pytest.mark.parametrize(("name", "text", "fault"), REFUSED)
def test_a_violation_is_refused(house: House, name: str, text: str, fault: str) -> None:
    house.put(name, text)
    assert any(each.startswith(name) and fault in each for each in house.new_faults())


@pytest.mark.parametrize(("name", "target"), CIRCLES)
def test_a_circle_is_refused(house: House, name: str, target: str) -> None:
    house.put(name, f"def late() -> None:\n    import {target}")
    circles = [fault.split()[1:] for fault in house.new_faults() if fault.startswith("circle: ")]
    assert any({name.removesuffix(".py").replace("/", "."), target} <= set(circle) for circle in circles)


@pytest.mark.parametrize("text", ALLOWED)
def test_what_harms_nothing_is_allowed(house: House, text: str) -> None:
    house.put("edge_agent/lanes/new.py", text)
    assert house.new_faults() == set()


@pytest.mark.parametrize(("old", "new", "fault"), TABLES)
def test_a_table_that_differs_from_the_code_is_refused(house: House, old: str, new: str, fault: str) -> None:
    house.replace(PAGE, old, new)
    assert any(fault in each for each in house.new_faults())


def test_a_room_holds_at_most_twenty_files(house: House) -> None:
    for number in range(20 - len(list((ROOT / "can_stream/frames").glob("[!_]*.py")))):
        house.put(f"can_stream/frames/new_{number}.py", '"""New."""')
    assert house.new_faults() == set()
    house.put("can_stream/frames/one_too_many.py", '"""New."""')
    assert house.new_faults() == {"can_stream/frames: over 20 files"}


def test_a_relative_import_is_refused(house: House) -> None:
    house.put(GATE, "from . import trim")
    with pytest.raises(ValueError, match="relative import"):
        house.new_faults()
