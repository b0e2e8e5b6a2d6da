"""What a sink must know after it was killed. Signatures first; the body follows."""

from __future__ import annotations


class Record:
    """A mapped memory of two slots that are written in turn."""
