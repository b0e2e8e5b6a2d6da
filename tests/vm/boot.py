"""Boots the guest that `make vm` has built, runs one command in it, and powers it off.

    tests/vm/run [--qemu] [--timeout SECONDS] [--memory MIB] COMMAND...

The command runs as root under systemd in /project, which holds this tree's `tests` and `bench`, read-only.
The wheel is built from the tree and installed in /opt/venv, whose commands come first in PATH; the buses are
vcan0 and vcan1. What the command leaves in /exchange comes back; nothing else outlives the guest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TextIO

Machine = Literal["uml", "qemu"]

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = ROOT / ".vm"
BOOT_FAILED: Final = 125
DEFAULT_TIMEOUT_SECONDS: Final = 600.0
DEFAULT_MEMORY_MIB: Final = 1536
_LOOK_AGAIN_SECONDS: Final = 0.1
_CONSOLE_LINES: Final = 30
_KERNEL_OPTIONS: Final = "quiet loglevel=3 panic=-1 systemd.show_status=0 systemd.unit=job.service"

# The memory of the guest is a file that must lie where programs may be mapped from: a file system of its own
# where this user may mount one, else the disk.
_UML: Final = f"""
mount -t tmpfs -o mode=700,size=${{MEMORY_MIB}}M guest memory 2>/dev/null
[ -e disk.img ] && disk=ubd1=disk.img
export TMPDIR=$PWD/memory LD_PRELOAD=$PWD/wide_registers.so
./vmlinux mem=${{MEMORY_MIB}}M ubd0=cow,root.img $disk root=/dev/ubda rw hostfs=. \
  uml_dir=./ con=null con0=null,fd:1 ssl=null {_KERNEL_OPTIONS}
"""
_QEMU: Final = f"""
qemu-system-x86_64 -accel tcg,thread=multi -cpu Nehalem -smp 2 -m $MEMORY_MIB \
  -nodefaults -no-user-config -no-reboot -display none -monitor none -serial stdio \
  -kernel vmlinux -initrd initramfs.cpio \
  -append "console=ttyS0 mitigations=off tsc=unstable {_KERNEL_OPTIONS}" \
  -drive file=root.img,format=raw,if=virtio,snapshot=on,cache=unsafe -device virtio-rng-pci \
  -virtfs local,path=exchange,mount_tag=exchange,security_model=none,multidevs=remap \
  -virtfs local,path=project/,mount_tag=project,security_model=none,multidevs=remap,readonly=on
"""
_SCRIPTS: Final[Mapping[Machine, str]] = {"uml": _UML, "qemu": _QEMU}


@dataclass(frozen=True, slots=True)
class GuestRun:
    """How a command in the guest ended: its exit status, or 125 where the guest gave none, and why."""

    status: int
    problem: str = ""


def is_built(machine: Machine = "uml") -> bool:
    """Whether `make vm` has built this guest here, of what this tree says it is made of."""
    check = [ROOT / "tests" / "vm" / "build", machine, "--check"]
    return subprocess.run(check, check=False).returncode == 0


def build_hint(machine: Machine = "uml") -> str:
    """What to do where it is not built."""
    command = "make vm" if machine == "uml" else f"make vm VM={machine}"
    return f"the guest is not built, or of other packages than this tree asks for: run `{command}` as root"


def build_wheel(directory: Path) -> None:
    """Builds the wheel of this tree into `directory`. CalledProcessError."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(directory), str(ROOT)]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def guest_directory(machine: Machine = "uml") -> Iterator[Path]:
    """A new directory to boot from; its `exchange`, with the wheel in it, is what host and guest share."""
    with tempfile.TemporaryDirectory(prefix="vm.") as name:
        directory = Path(name)
        for part in (CACHE / machine).iterdir():
            (directory / part.name).symlink_to(part)
        (directory / "project").symlink_to(ROOT)
        (directory / "memory").mkdir()
        (directory / "exchange").mkdir()
        build_wheel(directory / "exchange")
        yield directory


def add_disk(directory: Path, mebibytes: int) -> None:
    """Gives the guest, of User Mode Linux, a disk with a journal that outlives its boots: /dev/ubdb."""
    disk = directory / "disk.img"
    with disk.open("wb") as image:
        image.truncate(mebibytes << 20)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk], check=True, env={**os.environ, "PATH": path})


def run_in_guest(
    directory: Path,
    command: str,
    output: TextIO,
    machine: Machine = "uml",
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    cut_power: Callable[[], bool] = lambda: False,
    memory_mib: int = DEFAULT_MEMORY_MIB,
) -> GuestRun:
    """Boots in a `guest_directory` and runs the shell `command`; `output` gets what it writes as it comes.

    As soon as `cut_power` says so, the guest is gone as if somebody had pulled its plug.
    """
    exchange = directory / "exchange"
    (exchange / "status").unlink(missing_ok=True)
    (exchange / "job").write_text(f"{command}\n")
    written = exchange / "output"
    written.write_bytes(b"")
    console = directory / "console"
    with console.open("wb") as log, written.open(errors="replace") as lines:
        process = subprocess.Popen(
            [*_contained(), "sh", "-c", _SCRIPTS[machine]],
            cwd=directory,
            env={**os.environ, "MEMORY_MIB": str(memory_mib)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ended = _follow(process, lines, output, timeout_seconds, cut_power)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    status = exchange / "status"
    if status.exists():
        return GuestRun(int(status.read_text()))
    how = f"powered off (exit status {process.returncode})" if ended else f"not ended in {timeout_seconds} s"
    tail = console.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:]
    return GuestRun(BOOT_FAILED, "\n".join([f"the guest gave no exit status: {how}", *tail]))


def _follow(
    process: subprocess.Popen[bytes],
    lines: TextIO,
    output: TextIO,
    timeout_seconds: float,
    cut_power: Callable[[], bool],
) -> bool:
    """Copies what comes until the guest is gone; False where that takes too long, or its power is cut."""
    waited = 0.0
    while True:
        try:
            process.wait(_LOOK_AGAIN_SECONDS)
        except subprocess.TimeoutExpired:
            waited += _LOOK_AGAIN_SECONDS
        ended = process.returncode is not None
        output.write(lines.read())
        output.flush()
        if ended or waited >= timeout_seconds or cut_power():
            return ended


def _contained() -> list[str]:
    """The command that makes all processes of the guest end with this one, and its mounts with them.

    Where this user may have no namespaces only an orderly end takes all of them along.
    """
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        namespaces.append("--map-root-user")
    allowed = subprocess.run([*namespaces, "true"], check=False, capture_output=True).returncode == 0
    return ["setpriv", "--pdeathsig", "KILL", *(namespaces if allowed else [])]


def main() -> int:
    """The command line; the exit status is the command's."""
    parser = argparse.ArgumentParser(prog="tests/vm/run", description="Run a command in the guest.")
    parser.add_argument("--qemu", action="store_const", const="qemu", default="uml", dest="machine")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, metavar="SECONDS")
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MIB, metavar="MIB")
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        help="one word: a shell command; several: a command and its arguments",
    )
    arguments = parser.parse_args()
    machine: Machine = arguments.machine
    if not is_built(machine):
        parser.error(build_hint(machine))
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    command = words[0] if len(words) == 1 else shlex.join(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with guest_directory(machine) as directory:
        run = run_in_guest(
            directory, command, sys.stdout, machine, arguments.timeout, memory_mib=arguments.memory
        )
    if run.problem:
        sys.stderr.write(f"{run.problem}\n")
    return run.status


if __name__ == "__main__":
    sys.exit(main())
