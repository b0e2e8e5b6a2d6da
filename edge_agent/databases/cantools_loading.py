"""The one place that runs cantools' parsers. Importing it takes some 20 MB, so that is done on first use."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cantools.database import Database

_WRAPPED = re.compile(r'^[A-Z]+: "(.*)"$', re.DOTALL)


def load_with_cantools(text: str, database_format: str) -> Database:
    """`text` as cantools reads it, strictness off. Raises what cantools raises."""
    from cantools.database import Database as CantoolsDatabase  # noqa: PLC0415  (memory, see above)

    # What cantools warns of there (overwritten messages) is among our own findings.
    logging.getLogger("cantools.database.can.database").setLevel(logging.ERROR)
    database = CantoolsDatabase(strict=False)
    getattr(database, f"add_{database_format}_string")(text)
    return database


def reason_of(error: BaseException) -> str:
    """An exception of a parser in words."""
    text = _WRAPPED.sub(r"\1", str(error)) or type(error).__name__
    if isinstance(error, (TypeError, AttributeError)):
        text = f"a part that it needs is missing or of another kind ({text})"
    elif isinstance(error, KeyError):
        text = f"{text} is not defined"
    return text if len(text) <= 2000 else text[:1997] + "..."
