"""The one place that runs cantools' parsers. Importing it takes some 20 MB, so that is done on first use."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import InvalidOperation
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cantools.database import Database

_NO_NUMBER = re.compile(
    r"invalid literal for int\(\) with base \d+: '(.*)'|could not convert string to float: '(.*)'", re.DOTALL
)
_PARSERS = ("cantools", "textparser", "xml.etree")
_MISSING = "a part that it needs is missing or of another kind"
_SAID = {
    RecursionError: "its parts are nested too deeply",
    MemoryError: "it takes more memory than there is",
    InvalidOperation: "what should be a number is none",
    ArithmeticError: "a number in it is too great",
    **dict.fromkeys((TypeError, AttributeError, IndexError, AssertionError, UnicodeError), _MISSING),
}
# What Python's own functions say to who called them.
_PYTHON_WORDS = re.compile(
    r"(?i)object has no attribute|not iterable|NoneType|unpack|literal|argument|subscript|codec"
    r"|exceeds the limit|\b(?:int|float|str|list|dict|tuple)\b(?:\(\)| object| index)"
    r"|keyword|callable|__\w+__"
)
_WRAPPED = re.compile(r'^[A-Z]+: "(.*)"$', re.DOTALL)


def load_with_cantools(text: str, database_format: str) -> Database:
    """`text` as cantools reads it, not strictly. Raises what cantools raises; ValueError without names."""
    # What cantools warns of there (overwritten messages) is among our own findings.
    logging.getLogger("cantools.database.can.database").setLevel(logging.ERROR)
    database = _database_class()(strict=False)
    getattr(database, f"add_{database_format}_string")(text)
    for message in database.messages:
        # Nothing asks for one in KCD.
        if None in (message.name, *(signal.name for signal in message.signals)):
            raise ValueError(f"message {message.name or hex(message.frame_id)} or a signal of it has no name")
    return database


class _Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.messages.append(record.getMessage())


@contextmanager
def what_cantools_warns_of() -> Iterator[list[str]]:
    """Grows by what cantools logs meanwhile: parts that it leaves out or simplifies. Nothing is printed."""
    told, logger = _Told(), logging.getLogger("cantools")
    logger.addHandler(told)
    logger.propagate = False
    try:
        yield told.messages
    finally:
        logger.removeHandler(told)
        logger.propagate = True


def _database_class() -> type[Database]:
    """Imported without the package around it: that imports python-can and asyncio, for a tester that is not
    used here, and takes half of the time that the parsers take. A later `import cantools` works as ever.
    """
    if (is_alone := "cantools" not in sys.modules) and (spec := find_spec("cantools")) is not None:
        sys.modules["cantools"] = module_from_spec(spec)
    try:
        from cantools.database import Database  # noqa: PLC0415  (memory, see above)
    finally:
        if is_alone:
            sys.modules.pop("cantools", None)
    return Database


def reason_of(error: BaseException) -> str:
    """An exception of a parser in words: in those of the parser where it has any for who wrote the file."""
    text = _WRAPPED.sub(r"\1", str(error))
    # Whose words quote the file, in which any word may stand.
    is_parsers = type(error).__module__.startswith(_PARSERS) and text != ""
    if not is_parsers:
        text = _in_words(error, text)
    return text if len(text) <= 2000 else text[:1997] + "..."


def _in_words(error: BaseException, text: str) -> str:
    """What an exception of Python's own says to who wrote the file."""
    if (number := _NO_NUMBER.search(text)) is not None:
        value = number[1] or number[2]
        return f"{value!r} is no number" if value else "a number is missing"
    if isinstance(error, KeyError) and text:
        return f"{text} is not defined"
    for kind, said in _SAID.items():
        if isinstance(error, kind):
            return said
    return _MISSING if not text or _PYTHON_WORDS.search(text) else text
