"""The dependency rule: who may import whom, and what pure modules may not touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = {
    "can_stream": {"can_stream"},
    "edge_agent": {"edge_agent", "can_stream"},
    "stream_server": {"stream_server", "can_stream"},
}
IMPURE: Final = {
    "aiohttp", "asyncio", "multiprocessing", "os", "select", "socket", "sqlalchemy", "sqlite3", "ssl",
    "subprocess", "threading", "time", "urllib", "websockets",
}  # fmt: skip
PURE_MODULES: Final = [
    *sorted(
        path.relative_to(ROOT).as_posix()
        for room in ("frames", "lanes", "protocol", "signals", "text")
        for path in ROOT.glob(f"can_stream/{room}/*.py")
    ),
    "edge_agent/status/accounting.py",
    "edge_agent/host/adapter.py",
    "edge_agent/host/backoff.py",
    "edge_agent/health/bus_errors.py",
    "edge_agent/health/bus_health.py",
    "edge_agent/config/can_settings.py",
    "edge_agent/uplink/budget.py",
    "edge_agent/uplink/reconnecting.py",
    "edge_agent/uplink/state.py",
    "edge_agent/lanes/clock_watch.py",
    "can_stream/databases/dbc/limits.py",
    "can_stream/databases/dbc/statements.py",
    "can_stream/databases/locating.py",
    "edge_agent/config/dongle.py",
    "edge_agent/diagnosis/diagnosis.py",
    "edge_agent/lanes/batching.py",
    "edge_agent/config/frame_filters.py",
    "edge_agent/health/link_counters.py",
    "edge_agent/host/rtnetlink.py",
    "edge_agent/status/frame_rate.py",
    "edge_agent/status/log_limit.py",
    "edge_agent/discovery/seen_ids.py",
    "edge_agent/lanes/gate.py",
    "edge_agent/lanes/disk_backlog.py",
    "edge_agent/lanes/lane_on_disk.py",
    "edge_agent/config/signal_rules.py",
    "edge_agent/decoding/signal_selection.py",
    "edge_agent/simulation/traffic.py",
    "edge_agent/simulation/payloads.py",
    "edge_agent/simulation/values.py",
    "edge_agent/status/document.py",
    "edge_agent/status/text.py",
    "edge_agent/bus/socketcan_frames.py",
    "can_stream/logs/formats/candump.py",
    "can_stream/logs/formats/candump_lines.py",
    "can_stream/logs/formats/crtd.py",
    "can_stream/logs/formats/gvret.py",
    "can_stream/logs/log_blocks.py",
    "edge_agent/logs/pacing.py",
    "edge_agent/bus/slcan_codec.py",
    "edge_agent/bus/slcan_flags.py",
    "edge_agent/bus/source_state.py",
    "can_stream/text/text_columns.py",
    "edge_agent/bus/driver_times.py",
    "edge_agent/lanes/trim.py",
    "edge_agent/lanes/spooled_lane.py",
    "edge_agent/config/transmit.py",
    "edge_agent/transmit/policy.py",
    "stream_server/recording/clock_correction.py",
    "stream_server/fleet/connections.py",
    "stream_server/streams/console.py",
    "stream_server/streams/console_signals.py",
    "stream_server/streams/hub.py",
    "stream_server/signals/last_values.py",
    "stream_server/signals/newest_values.py",
    "stream_server/fleet/presence.py",
    "stream_server/access/rate_limit.py",
    "stream_server/streams/rates.py",
    "stream_server/streams/ring.py",
    "stream_server/streams/sampler.py",
    "stream_server/streams/sampling_log.py",
    "stream_server/streams/signal_sampler.py",
    "stream_server/streams/sse_format.py",
    "stream_server/agents/table_uploads.py",
]
OUR_FILES: Final = sorted(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module name that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", OUR_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_packages_import_only_what_they_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name in imported(path)} & (set(PACKAGES) | {"tests", "bench"})
    assert ours <= PACKAGES[package]


@pytest.mark.parametrize("name", PURE_MODULES)
def test_pure_modules_do_no_io(name: str) -> None:
    assert {module.partition(".")[0] for module in imported(ROOT / name)} & IMPURE == set()


@pytest.mark.parametrize("name", PURE_MODULES)
def test_pure_modules_import_only_pure_modules(name: str) -> None:
    for module in imported(ROOT / name):
        package = module.partition(".")[0]
        if package in PACKAGES:
            path = module.replace(".", "/")
            file = f"{path}.py" if (ROOT / f"{path}.py").exists() else f"{path}/__init__.py"
            plain = package == "can_stream" or file.endswith(("errors.py", "__init__.py"))
            assert plain or file in PURE_MODULES, f"{name} imports {module}"


@pytest.mark.parametrize("path", OUR_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_stay_readable_at_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
