"""Runs the benchmarks and writes what they print into docs/performance.md.

    scripts/bench.py              all
    scripts/bench.py resume decode   only these

The exit status is 1 where one of them failed; its block says so.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.page import report, with_block  # noqa: E402 - the path above is where it is

PAGE = ROOT / "docs" / "performance.md"
PATIENCE_SECONDS = 300.0


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


def run(name: str) -> tuple[int, str]:
    """Exit status and output of a benchmark, which is shown as it comes."""
    command = [sys.executable, f"bench/{name}.py"]
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
        status, output = run(name)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
        body = f"    PYTHONPATH=. .venv/bin/python bench/{name}.py\n\n{report(output)}"
        if status:
            failed.append(name)
            body += f"\n\nThis run ended with exit status {status}."
        write(name, body)
    write("machine", machine())
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
