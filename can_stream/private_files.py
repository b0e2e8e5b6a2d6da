"""Directories and files that are for one user alone, as recordings, packets and secrets are."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

PRIVATE_UMASK: Final = 0o077
_OTHERS: Final = 0o077
_EVERYBODY: Final = 0o007


def make_private(directory: Path) -> str | None:
    """Makes `directory`, or closes it to others; what is to be said of that, None where it was private.

    Raises OSError, whose text says the remedy where it is somebody else's. What holds directories of others,
    as a home does, is named and stays as it is.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status, user = directory.stat(), os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    if user not in (0, status.st_uid) and (status.st_uid != 0 or mode & _EVERYBODY):
        owner = f"user {status.st_uid}" if status.st_uid else "root, and everybody may enter it"
        remedy = f"run `chown {user} {directory} && chmod 700 {directory}` as root"
        raise PermissionError(errno.EACCES, f"it belongs to {owner}: {remedy}")
    if not mode & _OTHERS or (status.st_uid == 0 != user):
        return None
    if not mode & stat.S_ISVTX and not any(one.is_dir() for one in directory.iterdir()):
        with contextlib.suppress(OSError):
            directory.chmod(0o700)
        if not directory.stat().st_mode & _OTHERS:  # some file systems have no modes
            return f"others could enter {directory}: it is for its owner alone now (mode 0700)"
    return f"others may enter {directory}: give it a directory of its own with mode 0700"


def others_may_read(path: Path) -> str | None:
    """What is to be said of a file of secrets that others can read; None for one that is not there."""
    try:
        is_open = is_for_others(path.stat().st_mode)
    except (OSError, ValueError):
        return None
    return f"others can read {path}: run `chmod 600 {path}`" if is_open else None


def is_for_others(mode: int) -> bool:
    """Whether others may do something with a file of this mode; a pipe or a terminal is none."""
    return stat.S_ISREG(mode) and bool(mode & _OTHERS)


@contextlib.contextmanager
def place_for_secret(path: Path) -> Iterator[Callable[[str], None]]:
    """Inside it a secret can be stored in `path`, whole and with mode 0600 from its first moment. OSError.

    There is a file for it first, so that none is made that cannot be stored.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        os.close(descriptor)
        yield partial(_put, temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path, text: str) -> None:
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
