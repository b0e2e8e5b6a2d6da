"""Where the agent's token is kept, and the rules for reading and writing it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from can_stream.private_files import is_for_others, others_may_read
from can_stream.protocol.registration import AGENT_PREFIX, ENROLMENT_PREFIX
from edge_agent.config.enrolling import enrol_command
from edge_agent.errors import CredentialError
from edge_agent.host.state_directory import default_state_directory

MAX_TOKEN_BYTES: Final = 4096
SYSTEMD_CREDENTIAL: Final = "agent-token"
_OURS: Final = (AGENT_PREFIX.encode(), ENROLMENT_PREFIX.encode())


class Missing(NamedTuple):
    """What is said where there is no file, or nothing in it."""

    no_file: str
    nothing: str
    get_one: str


def _not_enrolled(token_file: str = "") -> Missing:
    run = f"run {enrol_command(token_file=token_file)}"
    return Missing(f"no token here: {run}, or set `token_file`", f"is empty: {run}", run)


_NOT_ENROLLED: Final = _not_enrolled()
_GET_ONE: Final = "name the file with what `stream-server enroll create` prints"
_NOT_GIVEN: Final = Missing(f"there is no such file: {_GET_ONE}", f"is empty: {_GET_ONE}", _GET_ONE)


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
    return (
        [in_use, default_token_file(environment)] if in_use == _systemd_credential(environment) else [in_use]
    )


def read_agent_token(configured: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The agent's token, from where `token_file` says. Raises CredentialError with the remedy."""
    path = token_file(configured, environment)
    # systemd grants access by an ACL, whose mask shows as group bits, in a directory only the service enters.
    private = path != _systemd_credential(environment)
    return read_token(path, private=private, missing=_not_enrolled("" if configured is None else str(path)))


def read_token(path: Path, *, private: bool = True, missing: Missing = _NOT_ENROLLED) -> str:
    """The token in `path`; `private` refuses files that others may read. Raises CredentialError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if private and is_for_others(mode):
                raise CredentialError(path, f"others can read this token: run `chmod 600 {path}`")
            content = file.read(MAX_TOKEN_BYTES + 1)
    except FileNotFoundError as error:
        raise CredentialError(path, missing.no_file) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise CredentialError(
            path, f"the token cannot be read: {reason}: name a file that holds one"
        ) from error
    return parse_token(content, path, missing)


def token_for_others(configured: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """What is to be said of an agent's token that others can read; None where there is none such."""
    path = token_file(configured, environment)
    return None if path == _systemd_credential(environment) else others_may_read(path)


def read_enrolment_token(path: Path, standard_input: BinaryIO) -> str:
    """The token in `path`, or from standard input where that is `-`. Raises CredentialError."""
    if str(path) != "-":
        return read_token(path, private=False, missing=_NOT_GIVEN)
    return parse_token(standard_input.read(MAX_TOKEN_BYTES + 1), Path("standard input"), _NOT_GIVEN)


def parse_token(content: bytes, path: Path, missing: Missing = _NOT_ENROLLED) -> str:
    """The token in `content` read from `path`: one printable ASCII word. Raises CredentialError."""
    if len(content) > MAX_TOKEN_BYTES:
        raise CredentialError(path, f"is larger than {MAX_TOKEN_BYTES} bytes, not a token")
    token = content.strip()
    if not token:
        raise CredentialError(path, missing.nothing)
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise CredentialError(
            path, f"is not a token (it holds spaces, line breaks or other than ASCII): {missing.get_one}"
        )
    return token.decode("ascii")


@contextmanager
def place_for_token(path: Path, remedy: str) -> Iterator[Callable[[str], None]]:
    """Inside it a token can be stored in `path`, whole and with mode 0600, by what is given.

    A token that is bought and cannot be stored is lost: so there is a file for it first, of the token's size.
    Where none is stored nothing is left, no directory either. Raises CredentialError with the `remedy`.
    """
    made: list[Path] = []
    temporary: Path | None = None
    try:
        made += [one for one in (path.parent, *path.parent.parents) if not one.exists()]
        if path.exists():
            _refuse_what_is_no_token(path, remedy)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # mkstemp makes it 0600
        temporary = Path(name)
        os.close(descriptor)
        _write_durably(temporary, "x" * MAX_TOKEN_BYTES)
        yield partial(_put, path, temporary)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not an ASCII token or file name"
        raise CredentialError(path, f"the token cannot be stored: {reason}: {remedy}") from None
    finally:
        with suppress(OSError):
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            for directory in made:
                directory.rmdir()  # fails, and so ends, where the token is in it


def write_token(path: Path, token: str, remedy: str = "choose another place") -> None:
    """Stores `token` in `path`, mode 0600, whole or not at all. Raises CredentialError."""
    with place_for_token(path, remedy) as store:
        store(token)


def _refuse_what_is_no_token(path: Path, remedy: str) -> None:
    """A slip of the hand does not cost a configuration. Raises CredentialError, OSError."""
    if not path.is_file():
        raise CredentialError(path, f"this is no file that could hold a token: {remedy}")
    with path.open("rb") as file:
        words = file.read(MAX_TOKEN_BYTES + 1).split()
    if words and (len(words) > 1 or not words[0].startswith(_OURS)):
        raise CredentialError(path, f"this holds something else than a token: move it away, or {remedy}")


def _put(path: Path, temporary: Path, token: str) -> None:
    _write_durably(temporary, token + "\n")
    temporary.replace(path)
    _sync_directory(path.parent)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        _give_to_owner(file.fileno(), path.parent)
        os.fsync(file.fileno())


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
