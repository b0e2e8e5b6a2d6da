"""The Unix socket at which a running agent says how it stands: whoever connects gets one document."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_agent.errors import StatusError
from edge_agent.host.runtime_directory import SYSTEM_DIRECTORY, make_runtime_directory, user_directory
from edge_agent.status.document import MAX_DOCUMENT_BYTES, AgentStatus, decode_status, encode_status

SYSTEM_SOCKET: Final = "status.sock"
MAX_CLIENTS: Final = 8
CLIENT_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 5.0
_MAX_PATH_BYTES: Final = 107  # sun_path of unix(7), with its zero
_MODE: Final = 0o660
_logger: Final = logging.getLogger(__name__)


def socket_path(configured: str | None, agent_id: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where an agent listens: as configured, else in the service's directory, else in the user's."""
    if configured is not None:
        return Path(configured)
    runtime = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if runtime:
        return Path(runtime) / SYSTEM_SOCKET
    return user_directory(environment) / f"{agent_id}.sock"


def candidates(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Every socket at which an agent of this machine may listen that this user may ask."""
    system = SYSTEM_DIRECTORY / SYSTEM_SOCKET
    mine = user_directory(environment)
    with contextlib.suppress(OSError):
        return [*([system] if os.path.lexists(system) else []), *sorted(mine.glob("*.sock"))]
    return [system]


@contextlib.asynccontextmanager
async def serving_status(path: Path, tell: Callable[[], AgentStatus]) -> AsyncIterator[None]:
    """Answers at `path` meanwhile. Where that cannot be, this is said, and all else goes on."""
    try:
        listening = _listen(path)
    except StatusError as error:
        _logger.warning("`edge-agent status` cannot ask this agent: %s", error)
        yield
        return
    identity = _identity(path)
    clients: set[asyncio.Task[object]] = set()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        clients.add(task)
        try:
            if len(clients) <= MAX_CLIENTS:
                await _answer(writer, tell)
        finally:
            clients.discard(task)
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, sock=listening)
    try:
        yield
    finally:
        server.close()
        for client in list(clients):
            client.cancel()
        _remove(path, identity)


async def _answer(writer: asyncio.StreamWriter, tell: Callable[[], AgentStatus]) -> None:
    """One document, for as long as somebody takes it."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(CLIENT_SECONDS):
            writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until the kernel has it all
            writer.write(encode_status(tell()))
            await writer.drain()


def ask_status(path: Path) -> AgentStatus:
    """What the agent at `path` says. StatusError where none listens, or where it may not be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(_address(path))
            return decode_status(_all_of(client))
        except TimeoutError as error:
            raise StatusError(
                "HANGS", f"the agent at {path} does not answer within {_CONNECT_SECONDS:g} s",
                "its event loop may hang: look at its log",
            ) from error  # fmt: skip
        except OSError as error:
            raise _refusal(error, path) from error


def _all_of(client: socket.socket) -> bytes:
    content = b""
    while len(content) <= MAX_DOCUMENT_BYTES and (piece := client.recv(65_536)):
        content += piece
    return content


def _refusal(error: OSError, path: Path) -> StatusError:
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = "run this command as root, with sudo"
        return StatusError("NO_PERMISSION", f"you may not ask the agent at {path}", remedy)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StatusError("NOT_RUNNING", f"no agent listens at {path}")
    if error.errno == errno.ECONNREFUSED:
        return StatusError("NOT_RUNNING", f"the agent that listened at {path} has ended without a stop")
    return StatusError("NOT_RUNNING", f"{path} cannot be asked: {error.strerror or error}")


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, for the owner and the group. StatusError."""
    address = _address(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        make_runtime_directory(path.parent)
        _clear(path, address)
        listening.bind(address)
        path.chmod(_MODE)
        listening.listen(MAX_CLIENTS)
    except OSError as error:
        listening.close()
        remedy = "set `agent.status_socket`"
        raise StatusError(
            "CANNOT_LISTEN", f"no socket at {path}: {error.strerror or error}", remedy
        ) from error
    except StatusError:
        listening.close()
        raise
    return listening


def _clear(path: Path, address: str) -> None:
    """Takes away what a killed agent has left. StatusError where another agent is alive there."""
    identity = _identity(path)
    if identity is None:
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise StatusError("CANNOT_LISTEN", f"{path} is no socket", "set `agent.status_socket`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(address)
        except ConnectionRefusedError:
            path.unlink()
            return
    remedy = "stop it, or give this one another `agent.id` or `agent.status_socket`"
    raise StatusError("TAKEN", f"another agent listens at {path}", remedy)


def _remove(path: Path, identity: tuple[int, int] | None) -> None:
    """Unless another agent has taken the place meanwhile."""
    if _identity(path) == identity:
        with contextlib.suppress(OSError):
            path.unlink()


def _address(path: Path) -> str:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        reason = f"{path} is longer than the {_MAX_PATH_BYTES} bytes that a socket's name may have"
        raise StatusError("CANNOT_LISTEN", reason, "set `agent.status_socket`")
    return str(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def running_agents(paths: list[Path]) -> Iterator[tuple[Path, AgentStatus | StatusError]]:
    """What each of these says, or why it does not."""
    for path in paths:
        try:
            yield path, ask_status(path)
        except StatusError as error:
            yield path, error
