"""How the credential of an agent stands, and what can be done about it."""

from __future__ import annotations

from typing import Any, Final, Literal

Deed = Literal["revoke", "disable", "enable"]
Standing = Literal["valid", "disabled", "revoked"]

DEEDS: Final[dict[Deed, str]] = {
    "revoke": "Make an agent's token void until it is enrolled again",
    "disable": "Make an agent's token void until it is enabled",
    "enable": "Let a disabled agent in again",
}


def standing_of(row: Any) -> Standing:
    """Of a stored agent."""
    if row.disabled_at_ns is not None:
        return "disabled"
    return "valid" if row.revoked_at_ns is None else "revoked"
