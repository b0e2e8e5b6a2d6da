"""Where the agent's token is kept, and the rules for reading and writing it."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from edge_agent.errors import CredentialError
from edge_agent.host.state_directory import default_state_directory

MAX_TOKEN_BYTES: Final = 4096
SYSTEMD_CREDENTIAL: Final = "agent-token"


def default_token_file(environment: Mapping[str, str] = os.environ, user_id: int | None = None) -> Path:
    """Where `enroll` stores the token: `/var/lib/edge-agent`, for an ordinary user `$XDG_STATE_HOME`."""
    return default_state_directory(environment, user_id) / "token"


def token_file(configured: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The file to read the token from: `configured`, else the systemd credential, else the default."""
    if configured is not None:
        return Path(configured).expanduser()
    credential = _systemd_credential(environment)
    return credential if credential is not None and credential.exists() else default_token_file(environment)


def token_files(configured: str | None, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where another token may appear while the agent runs.

    systemd's copy stays as it is until the service is started again; `enroll` writes what it was made from.
    """
    in_use = token_file(configured, environment)
    return [in_use, default_token_file()] if in_use == _systemd_credential(environment) else [in_use]


def read_agent_token(configured: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The agent's token, from where `token_file` says. Raises CredentialError with the remedy."""
    path = token_file(configured, environment)
    # systemd grants access by an ACL, whose mask shows as group bits, in a directory only the service enters.
    return read_token(path, private=path != _systemd_credential(environment))


def read_token(path: Path, *, private: bool = True) -> str:
    """The token in `path`; `private` refuses files that others may read. Raises CredentialError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if private and stat.S_ISREG(mode) and mode & 0o077:
                raise CredentialError(path, f"others can read this token: run `chmod 600 {path}`")
            content = file.read(MAX_TOKEN_BYTES + 1)
    except FileNotFoundError as error:
        raise CredentialError(path, "no token here: run `edge-agent enroll`, or set `token_file`") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise CredentialError(path, f"the token cannot be read: {reason}") from error
    return parse_token(content, path)


def read_enrolment_token(path: Path, standard_input: BinaryIO) -> str:
    """The token in `path`, or from standard input where that is `-`. Raises CredentialError."""
    if str(path) != "-":
        return read_token(path, private=False)
    return parse_token(standard_input.read(MAX_TOKEN_BYTES + 1), path)


def parse_token(content: bytes, path: Path) -> str:
    """The token in `content` read from `path`: one printable ASCII word. Raises CredentialError."""
    if len(content) > MAX_TOKEN_BYTES:
        raise CredentialError(path, f"is larger than {MAX_TOKEN_BYTES} bytes, not a token")
    token = content.strip()
    if not token:
        raise CredentialError(path, "is empty: run `edge-agent enroll`")
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise CredentialError(
            path, "is not a token: it holds spaces, line breaks or other than ASCII characters"
        )
    return token.decode("ascii")


def write_token(path: Path, token: str) -> None:
    """Stores `token` in `path`, mode 0600, whole or not at all. Raises CredentialError."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # mkstemp makes it 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
            file.flush()
            _give_to_owner(file.fileno(), path.parent)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        _sync_directory(path.parent)
    except (OSError, ValueError) as error:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
        reason = error.strerror if isinstance(error, OSError) else "not an ASCII token or file name"
        raise CredentialError(path, f"the token cannot be stored: {reason}") from None


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """What root stores in a service's directory is the service's, which takes it up while it runs."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _systemd_credential(environment: Mapping[str, str]) -> Path | None:
    directory = environment.get("CREDENTIALS_DIRECTORY")
    return Path(directory) / SYSTEMD_CREDENTIAL if directory else None
