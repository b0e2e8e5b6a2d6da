"""What proves who is at either end: the agent's token and the CAs that it trusts, as their files say now."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from edge_agent.errors import CredentialError, EdgeAgentError, UplinkError
from edge_agent.uplink.credentials import default_token_file, read_agent_token

LOOK_SECONDS: Final = 1.0
_Seen = tuple[int, ...] | None
_logger: Final = logging.getLogger(__name__)


class Keys:
    """The `token`, read again from one of `token_files` that changes, and `tls`, which trusts `ca_file`.

    What is unreadable at a later look, half written for example, leaves things as they are.
    """

    def __init__(self, token: str, ca_file: Path | None = None, token_files: Sequence[Path] = ()) -> None:
        self.token = token
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        # Where another token belongs; "" for where `enroll` puts it anyway.
        self.token_file = ""
        self.agent_id = ""
        if token_files and default_token_file() not in token_files:
            self.token_file = str(token_files[0])
        self._files = [_WatchedFile(path, partial(self._read_token, path)) for path in token_files]
        if ca_file is not None:
            self._files.append(_WatchedFile(ca_file, self._read_ca_file))

    @property
    def is_watched(self) -> bool:
        """Whether there is a file to look at again."""
        return bool(self._files)

    @property
    def tls(self) -> ssl.SSLContext:
        """What judges the server's certificate. UplinkError."""
        if self._tls is None:
            self._tls = trusting(self._ca_file)
        return self._tls

    def forget_trust(self) -> None:
        """A certificate was not trusted: the CAs are read again for the next attempt, the system's too."""
        self._tls = None

    def look(self) -> bool:
        """Whether a file has changed, and says something else than before."""
        news = [file.look() for file in self._files]  # at each of them
        return any(news)

    def _read_token(self, path: Path) -> bool:
        before, self.token = self.token, read_agent_token(str(path))
        return self.token != before

    def _read_ca_file(self) -> bool:
        self._tls = trusting(self._ca_file)
        return True


class _WatchedFile:
    """One file: `read` says whether it holds something new, or raises."""

    def __init__(self, path: Path, read: Callable[[], bool]) -> None:
        self.path = path
        self._read = read
        self._seen = _look_of(path)
        self._unreadable: _Seen = None

    def look(self) -> bool:
        """Whether it has changed, and is another. A change that cannot be read is looked at again."""
        now = _look_of(self.path)
        if now is None or now == self._seen:
            return False
        try:
            is_new = self._read()
        except (CredentialError, UplinkError) as error:
            self._say_once(now, error)
            return False
        self._seen = now
        if is_new:
            _logger.info("%s has changed, and is used from now on", self.path)
        return is_new

    def _say_once(self, now: _Seen, error: EdgeAgentError) -> None:
        """Once it stays so: at first it may be half written."""
        if self._unreadable == now:
            self._seen = now
            _logger.warning("what was read before stays in use: %s", error)
        self._unreadable = now


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """What trusts the CAs in `ca_file`, or those of the system. UplinkError."""
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UplinkError(
            f"{ca_file} cannot be used: {reason}; name a PEM file with the server's CA"
        ) from error


def _look_of(path: Path) -> _Seen:
    """What is another when a file was written, replaced or given other permissions; None where it is not."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as plain as that
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
