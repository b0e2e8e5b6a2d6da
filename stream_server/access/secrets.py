"""Secrets: how they are made, recognised and stored.

Every secret is 32 random bytes behind a prefix that says what it is. The server stores only its SHA-256: a
slow hash protects guessable passwords, and 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final, Literal

from can_stream.protocol.registration import AGENT_PREFIX, ENROLMENT_PREFIX

SecretKind = Literal["agent", "api", "enroll", "link", "session"]

PREFIXES: Final[dict[SecretKind, str]] = {
    "agent": AGENT_PREFIX,
    "api": "cea_api_",
    "enroll": ENROLMENT_PREFIX,
    "link": "cea_link_",
    "session": "cea_session_",
}
MAXIMUM_SECRET_LENGTH: Final = 128


def new_secret(kind: SecretKind) -> str:
    """A secret nobody else has."""
    return PREFIXES[kind] + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored of a secret: its SHA-256 in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def kind_of(secret: str) -> SecretKind | None:
    """Which kind of secret this claims to be, None for anything else."""
    if len(secret) > MAXIMUM_SECRET_LENGTH or not secret.isascii():
        return None
    return next((kind for kind, prefix in PREFIXES.items() if secret.startswith(prefix)), None)


def same(one: str, other: str) -> bool:
    """Whether two secrets or hashes are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def csrf_token(session_secret: str) -> str:
    """The token that proves that a request comes from our page: only who may read our answers learns it."""
    return hmac.new(session_secret.encode(), b"csrf", hashlib.sha256).hexdigest()
