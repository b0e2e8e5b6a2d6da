"""Logs that only a foreign library reads, each in a process of its own: bounded in time, memory and speech.

The process sends blocks of frames; what its library prints is counted, its exceptions become one sentence,
and it is killed when nothing has come of it for a while. This side holds one block.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np

from can_stream.errors import LogError
from can_stream.frames.batches import FrameBatch
from can_stream.logs.forward_bytes import ForwardBytes
from can_stream.logs.log_blocks import BLOCK_BYTES, Fault, LogBatch, ParsedBlock, empty_log_batch

BLOCK_SECONDS: Final = 60.0
MAX_BLOCK_BYTES: Final = 16 * 1024 * 1024
_RESERVE_BYTES: Final = 64 * 1024 * 1024
HEAD_BYTES: Final = 64
LENGTH: Final = struct.Struct("<L")
Command = Callable[[Path], list[str]]


class ForeignBlock(msgspec.Struct, array_like=True):
    """Columns of N frames as bytes, and the counts of a `ParsedBlock`; `names`: all channels so far."""

    timestamp_ns: bytes = b""
    arbitration_id: bytes = b""
    flags: bytes = b""
    length: bytes = b""
    data: bytes = b""
    channel: bytes = b""
    names: list[str] = msgspec.field(default_factory=list)
    others: dict[str, int] = msgspec.field(default_factory=dict)
    faults: list[str] = msgspec.field(default_factory=list)
    unreadable: int = 0
    is_cut: bool = False
    is_last: bool = False


class ForeignLog:
    """A `LogSource` whose bytes another process reads, from `plain`, or from a copy of what `read` gives.

    `command`: what reads a file, as `mf4_command`. `directory`: for the copy, None for the usual one.
    `block_seconds`: how long the process may take for one block.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        command: Command,
        plain: Path | None = None,
        directory: Path | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> None:
        self._bytes: Final = ForwardBytes(read, BLOCK_BYTES)
        self._command: Final = command
        self._plain: Final = plain
        self._directory: Final = directory
        self._seconds: Final = block_seconds
        self._names: list[str] = []
        self._said = 0

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names

    def head(self) -> bytes:
        """The first bytes of the file."""
        self._bytes.need(HEAD_BYTES)
        return self._bytes.peek(HEAD_BYTES)

    def blocks(self) -> Iterator[ParsedBlock]:
        """What the process sends; what it does not send is one unreadable place."""
        if not self.head():
            self._bytes.end()
            return
        # What is unfinished the other process finishes in its place: never in the user's own file.
        if self._plain is not None and not is_unfinished(self.head()):
            yield from self._blocks(self._plain)
            return
        with tempfile.NamedTemporaryFile(dir=self._directory, suffix=".mf4") as copy:
            reason = self._copy(copy)
            if reason is not None:
                yield _fault(reason)
                return
            yield from self._blocks(Path(copy.name))
        self._bytes.end()

    def _copy(self, copy: IO[bytes]) -> str | None:
        """Why there is no copy, None where there is one."""
        folder = Path(copy.name).parent
        try:
            for piece in self._bytes.pieces(sys.maxsize):
                if shutil.disk_usage(folder).free < _RESERVE_BYTES + len(piece):
                    return f"no room for a copy of the file in {folder}: name another folder in TMPDIR"
                copy.write(piece)
            copy.flush()
        except OSError as error:
            return f"no copy of the file can be made in {folder}: {error.strerror or 'the disk refuses it'}"
        return None

    def _blocks(self, path: Path) -> Iterator[ParsedBlock]:
        with (
            # asammdf does not take away what it wrote there when it is ended.
            tempfile.TemporaryDirectory(dir=self._directory) as own,
            subprocess.Popen(  # noqa: S603 - ourselves
                self._command(path),
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "TMPDIR": own},
            ) as process,
        ):
            listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
            listener.start()
            try:
                while True:
                    block = self._receive(process)
                    if isinstance(block, str):
                        yield _fault(f"{block}{self._also_said(listener, process)}", is_cut=True)
                        return
                    self._names[:] = block.names
                    yield _parsed(block)
                    if block.is_last:
                        return
            finally:
                process.kill()

    def _receive(self, process: subprocess.Popen[bytes]) -> ForeignBlock | str:
        """The next block, or why none comes."""
        assert process.stdout is not None
        deadline = time.monotonic() + self._seconds
        try:
            (size,) = LENGTH.unpack(_exactly(process.stdout, LENGTH.size, deadline))
            if size > MAX_BLOCK_BYTES:
                return "its reader went wrong"
            return msgspec.msgpack.decode(_exactly(process.stdout, size, deadline), type=ForeignBlock)
        except TimeoutError:
            return f"its reader made no progress for {self._seconds:g} s and was ended"
        except EOFError:
            return "its reader ended before the file did: is the file damaged, or too little memory there?"
        except msgspec.DecodeError:
            return "its reader went wrong"

    def _listen(self, spoken: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := spoken.read(1 << 16):
                self._said += piece.count(b"\n")

    def _also_said(self, listener: threading.Thread, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        listener.join(1)
        return f" (it printed {self._said} lines, which are not shown)" if self._said else ""


def _exactly(pipe: IO[bytes], count: int, deadline: float) -> bytes:
    """So many bytes. Raises TimeoutError after the deadline, EOFError where the pipe ends."""
    pieces, left = [], count
    while left:
        ready, _, _ = select.select([pipe], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError
        piece = pipe.read(left)
        if not piece:
            raise EOFError
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _parsed(block: ForeignBlock) -> ParsedBlock:
    count = len(block.length)
    frames = FrameBatch(
        np.frombuffer(block.timestamp_ns, np.int64),
        np.frombuffer(block.arbitration_id, np.uint32),
        np.frombuffer(block.flags, np.uint8),
        np.frombuffer(block.length, np.uint8),
        np.frombuffer(block.data, np.uint8).reshape(count, -1) if count else empty_log_batch().frames.data,
    )
    faults = tuple(Fault(None, reason) for reason in block.faults)
    items = count + block.unreadable + sum(block.others.values())
    batch = LogBatch(frames, np.frombuffer(block.channel, np.uint16))
    return ParsedBlock(batch, items, block.others, block.unreadable, faults, is_cut=block.is_cut)


def _fault(reason: str, *, is_cut: bool = False) -> ParsedBlock:
    return ParsedBlock(empty_log_batch(), 1, unreadable=1, faults=(Fault(None, reason),), is_cut=is_cut)


def is_unfinished(head: bytes) -> bool:
    """Whether an MF4 log that begins with `head` was not finished by its recorder (id_unfin_flags)."""
    return head.startswith(b"UnFinMF") or any(head[60:62])


def mf4_log(
    path: Path, read: Callable[[int], bytes], plain: Path | None = None, directory: Path | None = None
) -> ForeignLog:
    """The MF4 log at `path`. Raises `LogError` for what is none, and where asammdf is not installed."""
    log = ForeignLog(read, mf4_command, plain, directory)
    head = log.head()
    if head and not head.startswith((b"MDF ", b"UnFinMF")):
        raise LogError(path, "not an MF4 log: it begins neither with MDF nor with UnFinMF")
    version = head[8:16].decode("ascii", "replace").strip(" \0")
    if version[:2] in ("2.", "3."):
        raise LogError(
            path, f"an MDF file of version {version}: save it as version 4 (MF4), with the raw CAN frames"
        )
    if not _has_asammdf():
        raise LogError(path, "reading MF4 needs an extra: pip install 'python-can[mf4]'")
    return log


def _has_asammdf() -> bool:
    return importlib.util.find_spec("asammdf") is not None


def mf4_command(path: Path) -> list[str]:
    """The process that reads an MF4 log."""
    return [sys.executable, "-m", "can_stream.logs.formats.mf4_process", str(path.absolute())]
