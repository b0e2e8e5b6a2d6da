"""Runs the benchmarks and writes what they print into docs/performance.md.

    scripts/bench.py              all
    scripts/bench.py resume decode   only these

Each block is written when its benchmark has ended, so that what is missing can be run alone. The exit status
is 1 where one of them failed; its block says so. What needs a CAN bus of the kernel runs in the guest of the
lane `vm` too, where that is built.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.page import report, with_block  # noqa: E402 - the path above is where it is
from tests.vm.boot import Machine, build_hint, is_built  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
PATIENCE_SECONDS = 1_500.0
# The clock of CPU time of User Mode Linux counts in ticks, which the receive benchmark does not need.
# There candump has what it has not written yet in its buffer, up to two gigabytes.
GUESTS: Mapping[str, tuple[Sequence[str], str]] = {
    "receive": (["--memory", "4096"], "python bench/receive.py"),
    "pipeline": (
        ["--qemu"],
        "python bench/pipeline.py --database /src/dbc/demo-vehicle.dbc --seconds 8 --curve-seconds 0",
    ),
    "relay": ([], "python bench/relay.py --rows whole,latency --rounds 1"),
}


def benchmarks() -> list[str]:
    """The names of all."""
    return sorted(path.stem for path in ROOT.glob("bench/*.py") if "\ndef main(" in path.read_text())


def machine() -> str:
    """What the figures are of."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpus if line.startswith("model name")), "CPU")
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    versions = f"{system}, Python {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores; {versions}; {datetime.now(UTC):%Y-%m-%d}."


def run(command: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of a benchmark, which is shown as it comes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    lines = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(PATIENCE_SECONDS, process.kill)
        limit.start()
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not line.startswith("{"):
                print(line, end="", flush=True)
    limit.cancel()
    return process.returncode, "".join(lines)


def section(shown: str, command: Sequence[str]) -> tuple[int, str]:
    """Exit status of a command, and what the page says of it."""
    status, output = run(command)
    body = f"`{shown}`\n\n{report(output)}"
    return status, f"{body}\n\nThis run ended with exit status {status}." if status else body


def sections(name: str) -> list[tuple[int, str]]:
    """Of a benchmark here, and in a guest where it needs one."""
    done = [section(f"PYTHONPATH=. .venv/bin/python bench/{name}.py", [sys.executable, f"bench/{name}.py"])]
    if name in GUESTS:
        kind, command = GUESTS[name]
        machine: Machine = "qemu" if "--qemu" in kind else "uml"
        options = [*kind, "--timeout", f"{PATIENCE_SECONDS:.0f}"]
        if is_built(machine):
            shown = f"tests/vm/run {' '.join(options)} '{command}'"
            done.append(section(shown, ["tests/vm/run", *options, command]))
        else:
            done.append((0, f"Not measured in the guest: {build_hint(machine)}."))
    return done


def write(name: str, body: str) -> None:
    """Read anew for each: a run takes minutes, in which somebody may write."""
    PAGE.write_text(with_block(PAGE.read_text(), name, body))


def main(wanted: list[str]) -> int:
    """Exit status 0 when none failed."""
    known = benchmarks()
    unknown = set(wanted) - set(known)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return 2
    failed = []
    for name in wanted or known:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        parts = sections(name)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
        if any(status for status, _ in parts):
            failed.append(name)
        body = "\n\n".join(part for _, part in parts)
        write(name, body)
    write("machine", machine())
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
