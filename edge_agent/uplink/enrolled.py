"""The id that an agent was enrolled as, kept beside its token, and the agent's file read with it.

`TOKEN.agent-id` holds the id and a fingerprint of it and the token it came with: where somebody puts another
token in its place, or edits the id, it says nothing, as if it were not there. The server knows better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from can_stream.protocol.identity import is_identifier
from edge_agent.config.loading import Enrolled, load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.errors import CredentialError
from edge_agent.host.state_directory import write_whole
from edge_agent.uplink.credentials import default_token_file, read_token, token_files

_SUFFIX: Final = ".agent-id"
_FINGERPRINT_DIGITS: Final = 16  # of a token of 256 random bits: nobody comes back from it
_MAX_BYTES: Final = 64 + 1 + _FINGERPRINT_DIGITS + 1  # an id, a fingerprint, their lines' ends


def load_config(path: Path) -> AgentConfig:
    """The file at `path` with all ids filled in, the agent's by how it was enrolled. ConfigError, also where
    the file names another id than the token's."""
    return load_agent_config(path, enrolled=enrolled)


def enrolled(token_file: str | None) -> Enrolled | None:
    """Whose token is in `token_file`, or where `enroll` puts it; None where that is not known."""
    path = default_token_file() if token_file is None else Path(token_file).expanduser()
    said = _said_beside(path)
    if said is None or _is_contradicted(token_file, *said):
        return None
    return Enrolled(said[0], path, is_default=token_file is None, is_proven=bool(said[1]))


def check_place(token_file: Path, remedy: str) -> None:
    """Whether `store_enrolled_id` will find room beside `token_file`, whose directory is there.

    Raises CredentialError with the `remedy`, OSError.
    """
    path = _beside(token_file)
    if path.exists() and not path.is_file():
        raise CredentialError(path, f"this is no file that could hold the agent's id: {remedy}")
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-"):
        pass  # as long a name as `write_whole` takes


def store_enrolled_id(token_file: Path, agent_id: str, token: str) -> None:
    """For `enrolled`. Raises CredentialError."""
    path = _beside(token_file)
    try:
        write_whole(path, f"{agent_id}\n{_fingerprint(agent_id, token)}\n".encode())
        path.chmod(0o644)  # no secret, and a service is not root
    except OSError as error:
        reason = f"the token is stored, but not whose it is: {error.strerror}: set `id` below [agent]"
        raise CredentialError(path, reason) from None


def _said_beside(token_file: Path) -> tuple[str, str] | None:
    try:
        with _beside(token_file).open("rb") as file:
            agent_id, _, fingerprint = file.read(_MAX_BYTES + 1).decode("ascii").strip().partition("\n")
    except (OSError, ValueError):
        return None
    # A file of before fingerprints has none.
    whole = is_identifier(agent_id) and len(fingerprint) in (0, _FINGERPRINT_DIGITS)
    return (agent_id, fingerprint) if whole else None


def _is_contradicted(token_file: str | None, agent_id: str, fingerprint: str) -> bool:
    """Whether there are tokens to read, and this id came with none of them."""
    if not fingerprint:
        return False
    seen = [_fingerprint(agent_id, token) for token in _readable(token_file)]
    return bool(seen) and fingerprint not in seen


def _readable(token_file: str | None) -> Iterator[str]:
    # Of a service, systemd's copy is of before the last `enroll` until it is started again.
    for path in token_files(token_file):
        try:
            yield read_token(path, private=False)
        except CredentialError:
            continue


def _fingerprint(agent_id: str, token: str) -> str:
    return hashlib.sha256(f"{agent_id}\n{token}".encode()).hexdigest()[:_FINGERPRINT_DIGITS]


def _beside(token_file: Path) -> Path:
    return token_file.with_name(token_file.name + _SUFFIX)
