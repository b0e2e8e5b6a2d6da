"""CAN databases: load, lint, compile to a signal table."""

from typing import Final

MAX_DATABASES: Final = 64
"""For one bus."""
