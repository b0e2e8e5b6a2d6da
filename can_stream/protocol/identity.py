"""Identifiers that appear in URLs: agent, dongle and group ids, and the random id of an agent start."""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec

# `$` alone would let a line feed pass at the end.
IDENTIFIER_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,63}(?!\n)$"
START_ID_BYTES: Final = 8

Identifier = Annotated[str, msgspec.Meta(pattern=IDENTIFIER_PATTERN)]
StartId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}(?!\n)$")]

_SHOWN_CHARACTERS: Final = 80
_VALID = re.compile(IDENTIFIER_PATTERN)


def is_identifier(text: str) -> bool:
    """Whether `text` may be an agent_id, dongle_id or group_id as it stands."""
    return _VALID.match(text) is not None


def identifier_problem(text: str) -> str:
    """What is said of a `text` that is no identifier, with one that is."""
    shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    rule = "1 to 64 of a-z 0-9 . _ -, a letter or digit first"
    return f"{shown!r} is no id: use {rule}, such as {identifier_from(text)}"


def identifier_from(text: str) -> str:
    """A default id made from a host name or channel: lower-cased, other characters become `-`, 64 at most."""
    lowered = re.sub(r"[^a-z0-9._-]", "-", text.lower())
    return lowered.lstrip("._-")[:64] or "x"
