"""Who sets up a log or writes for a terminal is known, and makes what came from outside safe: a lint."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("can_stream", "edge_agent", "stream_server")
# What makes a log, or takes its lines elsewhere than to one.
SETTING_UP: Final = frozenset(
    {"Formatter", "StreamHandler", "FileHandler", "SysLogHandler", "Handler", "basicConfig", "setFormatter"}
)
WRITING: Final = frozenset({"echo", "secho", "print", "write", "fileno", "writelines"})
THE_ONE_PLACE: Final = "can_stream/service_manager.py"
HANDLERS: Final = {
    "can_stream/standard_error.py": "given its formatter by the one place",
    "can_stream/databases/cantools_loading.py": "counts what a library says",
    "edge_agent/status/log_forwarding.py": "JSON, whose encoder makes it safe",
}
WRITERS: Final = {
    "can_stream/command_line/completion.py": "our own text",
    "can_stream/command_line/listed_group.py": "our own text",
    "can_stream/databases/isolated.py": "a pipe between two processes of ours",
    "edge_agent/cli/parameters.py": "shown",
    "edge_agent/cli/databases.py": "numbers",
    "edge_agent/cli/logs/decode.py": "JSON, csv_cell, and a summary of numbers",
    "edge_agent/cli/logs/telling.py": "shown",
    "edge_agent/cli/logs/replay.py": "JSON",
    "edge_agent/cli/logs/simulate.py": "names that the configuration or the command line gave",
    "edge_agent/cli/look/doctor.py": "status_line",
    "edge_agent/cli/look/dongles.py": "words of devices, which `clean_text` made safe",
    "edge_agent/cli/look/relay.py": "ids, which their type checks, and status_line",
    "edge_agent/cli/look/status.py": "status_line, JSON, Prometheus' own escapes",
    "edge_agent/cli/set_up/check_config.py": "what the file says whose owner asks",
    "edge_agent/cli/set_up/enroll.py": "an id, which its type checks",
    "edge_agent/cli/set_up/install.py": "our own text",
    "edge_agent/cli/set_up/set_up_can.py": "what the file says whose owner asks",
    "edge_agent/transmit/slcan_writer.py": "a command to an adapter, on its port",
    "stream_server/cli.py": "ids, numbers, secrets of ours; names through shown",
    "stream_server/cli_machines.py": "ids and numbers",
    "stream_server/cli_secrets.py": "secrets of ours",
    "stream_server/cli_holdings.py": "ids and numbers",
}


def calls(names: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Where one of these is called, or is the base of a class."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                used = [node.func] if isinstance(node, ast.Call) else []
                used += node.bases if isinstance(node, ast.ClassDef) else []
                for one in used:
                    if _name(one) in names and _is_of_interest(one):
                        yield path.relative_to(ROOT).as_posix(), one.lineno


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_of_interest(node: ast.expr) -> bool:
    """Of `write` and the like only those of standard output and error."""
    if isinstance(node, ast.Attribute) and node.attr in {"write", "fileno", "writelines"}:
        return ast.unparse(node.value).startswith(("sys.stdout", "sys.stderr"))
    return not isinstance(node, ast.Attribute) or ast.unparse(node.value) in {"logging", "click", "handler"}


@pytest.mark.parametrize(
    ("names", "known"),
    [(SETTING_UP, {THE_ONE_PLACE: "it", **HANDLERS}), (WRITING, {THE_ONE_PLACE: "it", **WRITERS})],
    ids=["logs", "terminals"],
)
def test_whoever_shows_text_says_why_it_is_safe(names: frozenset[str], known: dict[str, str]) -> None:
    unknown = sorted({f"{path}:{line}" for path, line in calls(names) if path not in known})
    assert not unknown, f"foreign text goes through can_stream.text.foreign; say here how: {unknown}"


def test_nobody_is_listed_who_shows_nothing() -> None:
    assert {path for path, _ in calls(WRITING)} >= set(WRITERS)
    assert {path for path, _ in calls(SETTING_UP)} >= {THE_ONE_PLACE, *HANDLERS}
