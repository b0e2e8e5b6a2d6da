"""Roles, and what each of them suffices for."""

from __future__ import annotations

from typing import Final, Literal

Role = Literal["viewer", "operator", "admin"]

ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "admin")


def role_suffices(role: Role, needed: Role) -> bool:
    """Whether `role` may do what needs `needed`: each role may what the ones before it may."""
    return ROLES.index(role) >= ROLES.index(needed)
