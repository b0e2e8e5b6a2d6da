"""What a client may take its time with has one way out."""

from __future__ import annotations

import re
from pathlib import Path

from stream_server.http import long_answers
from stream_server.sse import endpoint

PACKAGE = Path(long_answers.__file__).parents[1]


def test_answers_of_many_pieces_are_made_in_two_places_that_hold_a_slot() -> None:
    makers = {path for path in PACKAGE.rglob("*.py") if re.search(r"\bStreamResponse\(", path.read_text())}
    assert makers == {Path(long_answers.__file__), Path(endpoint.__file__)}
