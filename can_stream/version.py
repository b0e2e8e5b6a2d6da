"""Which release this is: to look it up in the installed package's metadata costs half a megabyte."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
