"""One owner per agent id: who reads its buses and speaks for it to the server.

A second one would read the same buses, so that each frame is recorded twice, and take the connection away.
The lock is a file in the runtime directory, which is another one for another user, and can be deleted; so the
names of unix sockets that are no files (unix(7), abstract) say who uses this token and this spool.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_agent.errors import OwnerError
from edge_agent.host.runtime_directory import SYSTEM_DIRECTORY, make_runtime_directory, runtime_directory

_REMEDY: Final = "set XDG_RUNTIME_DIR to a directory of this user"
_FLOCK: Final = struct.Struct("@hhqqi4x")  # struct flock of fcntl(2)
_SOCKETS: Final = Path("/proc/self/net/unix")

_LOOK_SECONDS: Final = 0.25
_logger: Final = logging.getLogger(__name__)


@contextlib.contextmanager
def owning_in_turn(
    agent_id: str, environment: Mapping[str, str] = os.environ, places: Sequence[Path] = ()
) -> Iterator[None]:
    """`owning`, once whoever is it already has ended; says who that is. Raises OwnerError otherwise."""
    told = ""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(owning(agent_id, environment, places))
                break
            except OwnerError as error:
                if not error.is_owned:
                    raise
                if error.reason != told:
                    told = error.reason
                    _logger.info("agent %s: %s: waiting until it ends", agent_id, told)
            time.sleep(_LOOK_SECONDS)
        yield


@contextlib.contextmanager
def owning(
    agent_id: str, environment: Mapping[str, str] = os.environ, places: Sequence[Path] = ()
) -> Iterator[None]:
    """This process alone is `agent_id` meanwhile. Raises OwnerError, which names who is it already.

    A record lock of fcntl(2): it ends with this process, is not inherited by its children, and tells its
    owner's process id. The file stays: taking it away would let two agents lock two files of one name.
    `places`: token and spool, by which it is known to users with another runtime directory.
    """
    directory = runtime_directory(environment)
    path = directory / f"{agent_id}.lock"
    if directory != SYSTEM_DIRECTORY:
        _refuse_where_locked(agent_id, SYSTEM_DIRECTORY / path.name)
    try:
        make_runtime_directory(directory)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        reason = f"no lock at {path}: {error.strerror or error}"
        raise OwnerError(agent_id, reason, _REMEDY) from error
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise OwnerError(
                    agent_id, f"no lock at {path}: {error.strerror or error}", _REMEDY
                ) from error
            raise _owned(agent_id, _owner(descriptor)) from None
        # The umask of a service keeps others from asking who it is.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o644)
        with contextlib.ExitStack() as names:
            for place in dict.fromkeys(places):
                _take_name(names, agent_id, place)
            yield
    finally:
        os.close(descriptor)


def _refuse_where_locked(agent_id: str, path: Path) -> None:
    """Somebody who starts an agent by hand does not see that the service runs: its directory is another."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        reason = f"{path} cannot be asked who it is: {error.strerror or error}"
        raise OwnerError(agent_id, reason, "stop the service first, or give this one another id") from error
    try:
        owner = _owner(descriptor)
    finally:
        os.close(descriptor)
    if owner is not None:
        raise _owned(agent_id, owner)


def _take_name(names: contextlib.ExitStack, agent_id: str, place: Path) -> None:
    """Such a name ends with its process too, and is one for all users; containers may have their own.

    Where the kernel lets nobody have one (AppArmor), the file is what there is.
    """
    digest = hashlib.sha256(os.fsencode(f"{agent_id}/{os.path.realpath(place)}")).hexdigest()[:32]
    name = f"can-edge-agent/{digest}"
    try:
        names.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0{name}")
        names.enter_context(socket.socket(socket.AF_UNIX)).bind(
            f"\0{name}/{_process_namespace()}/{os.getpid()}"
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _owned(agent_id, _bearer(name)) from None


def _bearer(name: str) -> int | None:
    """The process that has the name, which another name says; None where that is of another pid namespace."""
    mark = f" @{name}/{_process_namespace()}/"
    with contextlib.suppress(OSError, ValueError):
        for line in _SOCKETS.read_text("utf-8", "replace").splitlines():
            if mark in line:
                return int(line.partition(mark)[2])
    return None


def _process_namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _owner(descriptor: int) -> int | None:
    """The process that has the lock: None where nobody has, 0 where it is of another pid namespace."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, *_, process_id = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else process_id


def _owned(agent_id: str, process_id: int | None) -> OwnerError:
    who = f"process {process_id}" if process_id else "another process"
    remedy = "stop it first, give this one another id, or let it wait (`run --wait`)"
    return OwnerError(agent_id, f"{who} runs as this agent already", remedy, is_owned=True)
