"""Where the demo runs: its directory, which is its alone, and its address."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

BIN: Final = Path(sys.executable).parent
_LAST_PORT: Final = 65_535


def hold(data: Path) -> int:
    """The open directory, held for as long as anybody has it open. SystemExit where a demo runs there.

    The directory itself is locked and never removed: a lock on what is removed holds off nobody.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        place = shown(data)
        remedy = f"`sudo rm -rf {place}` removes it, and a demo needs no sudo"
        raise SystemExit(f"{place} is another user's, perhaps of a demo with sudo: {remedy}.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(_runs_already(data)) from None
    except OSError:
        pass  # a shared folder may have no locks: there one has to take care oneself
    return descriptor


def _runs_already(data: Path) -> str:
    # Half a second, in which Ctrl-C would be a traceback, that every other demo does without.
    from stream_server.storage.data_directory import running_address  # noqa: PLC0415

    runs = f"A demo runs in {shown(data)} already. Ctrl-C ends it, in the terminal that it was started in."
    server = data / "server"
    if not (url := running_address(server)):
        return f"{runs}\nIt is starting or ending just now: try again in a moment."
    command = [str(BIN / "stream-server"), "admin-link", "--data-dir", str(server), "--url", url]
    link = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return f"{runs}\nAnother link to look at it (it works once, for 15 minutes):\n\n    {link}\n"


def empty(data: Path) -> None:
    """Removes what an earlier demo has left there."""
    for path in data.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    data.chmod(0o700)


def address() -> tuple[str, int]:
    """As HOST and PORT say; port 0 where theirs is taken. SystemExit where nobody could listen there."""
    host, text = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8080")
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _LAST_PORT:
        raise SystemExit(
            f"PORT={text} is no port: give a number up to {_LAST_PORT}, such as PORT=8081, or leave PORT out."
        )
    port = int(text)
    if port and not _is_free(host, port):
        print(f"Port {port} is taken: this demo takes another one.", flush=True)
        port = 0
    return host, port


def _is_free(host: str, port: int) -> bool:
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(place)
    except (OSError, UnicodeError) as error:  # the second for a name that no resolver would take
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            return False
        if number == errno.EACCES:
            raise SystemExit(f"Port {port} is root's: give one from 1024 on, such as PORT=8081.") from None
        raise SystemExit(
            f"HOST={host} is no address of this machine: "
            "give HOST=0.0.0.0 for all that it has, or leave HOST out for this machine alone."
        ) from None
    return True


def shown(path: Path) -> Path:
    """As short as one who is in the working directory may write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
