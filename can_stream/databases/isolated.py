"""Load databases in a process of its own: bounded in time and memory, and the agent never holds cantools."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from can_stream.databases.findings import Finding
from can_stream.databases.loaded import LoadedDatabases
from can_stream.databases.options import DatabaseOptions
from can_stream.errors import DatabaseError
from can_stream.signals.errors import TableError
from can_stream.signals.table import read_table

TIMEOUT_SECONDS: Final = 120.0
MEMORY_BYTES: Final = 1024 * 1024 * 1024


class _Answer(msgspec.Struct):
    table: bytes
    report: list[Finding]
    failed: tuple[str, int, str] | None = None


def load_isolated(
    paths: Sequence[Path],
    options: Sequence[DatabaseOptions] = (),
    timeout_seconds: float = TIMEOUT_SECONDS,
    memory_bytes: int = MEMORY_BYTES,
) -> LoadedDatabases:
    """What `load_databases` gives. Raises DatabaseError, also where time or memory run out."""
    said = msgspec.json.encode(list(options)).decode()
    command = [
        sys.executable,
        "-m",
        "can_stream.databases.isolated",
        str(memory_bytes),
        said,
        *map(str, paths),
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_seconds, check=False)  # noqa: S603  (ourselves)
    except subprocess.TimeoutExpired as error:
        raise DatabaseError(paths[0], 1, f"loading takes more than {timeout_seconds:g} seconds") from error
    try:
        answer = msgspec.msgpack.decode(done.stdout, type=_Answer, dec_hook=_path)
        if answer.failed:
            path, line, reason = answer.failed
            raise DatabaseError(Path(path), line, reason)
        return LoadedDatabases(read_table(answer.table), tuple(answer.report))
    except (msgspec.DecodeError, TableError) as error:
        last = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1][:300]
        reason = f"loading ended with status {done.returncode}: {last or 'out of memory?'}"
        raise DatabaseError(paths[0], 1, reason) from error


def _path(kind: type, value: object) -> PurePath:
    if kind is PurePath and isinstance(value, str):
        return Path(value)
    raise NotImplementedError


def main() -> None:
    """The process: `memory_bytes OPTIONS PATH...`; the answer goes to standard output."""
    from can_stream.databases.loading import load_databases  # noqa: PLC0415 - the agent never holds it

    limit, said, *names = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
    try:
        options = msgspec.json.decode(said, type=list[DatabaseOptions])
        loaded = load_databases([Path(name) for name in names], options)
        answer = _Answer(loaded.table.to_bytes(), list(loaded.report))
    except DatabaseError as error:
        answer = _Answer(b"", [], (str(error.path), error.line, error.reason))
    except TableError as error:
        answer = _Answer(b"", [], (names[0], 1, error.reason))
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer, enc_hook=str))


if __name__ == "__main__":
    main()
