"""Where in a database file a message or signal is described."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from can_stream.databases.dbc.statements import Statement
from can_stream.frames.batches import EXTENDED_ID_MASK

_START_BIT: Final = re.compile(r"[^:]*:\s*(\d{1,9})\s*\|")
_NUMBERED: Final = re.compile(r"(.+)#\d+", re.DOTALL)
_KCD_ELEMENT: Final = re.compile(r"<(Message|Signal|Multiplex)\b([^<>]*)>")
_XML_ATTRIBUTE: Final = re.compile(r"""\b(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_SYM_LINE: Final = re.compile(
    r"""(?im)^[ \t]*(?:\[[ \t]*(?:"([^"\n]*)"|([^\]\n]*))\]"""
    r"""|(?:Var|Sig|Mux)[ \t]*=[ \t]*(?:"([^"\n]*)"|([^\s"]+))"""
    r"""|ID[ \t]*=[ \t]*([0-9A-F]{1,9})h(?:[ \t]*-[ \t]*([0-9A-F]{1,9})h)?)"""
)
_SHORT_NAME: Final = re.compile(r"<SHORT-NAME>\s*([^<]*?)\s*</")


class _Described(Struct):
    """A message where it stands: its `ids`, with bit 31 for extended ones unless `mask` leaves it out;

    the lines of its signals by name and start bit, -1 where that is not known.
    """

    name: str
    line: int
    ids: range
    signals: dict[tuple[str, int], int] = field(default_factory=dict)
    mask: int = 0xFFFFFFFF

    def line_of(self, name: str, start: int) -> int:
        """The line of a signal, that of the message where it is not found."""
        for key in ((name, start), (name, -1)):
            if key in self.signals:
                return self.signals[key]
        plain = _NUMBERED.fullmatch(name)
        if plain and (found := self.line_of(plain[1], start)) != self.line:
            return found
        by_name = [line for (other, _), line in self.signals.items() if other == name]
        # A name may be short for a longer one that an attribute gives.
        by_start = [line for (_, at), line in self.signals.items() if at == start >= 0]
        return (by_name or by_start or [self.line])[-1]


class Locator:
    """Lines (from 1) of messages and signals: exact in DBC, KCD and SYM, else where the name first stands."""

    def __init__(self, text: str, statements: Sequence[Statement], database_format: str = "") -> None:
        self._text = text
        self._messages: defaultdict[str, list[_Described]] = defaultdict(list)
        self._by_id: defaultdict[int, list[_Described]] = defaultdict(list)
        self._names: dict[str, int] = {}
        for message in _described(text, statements, database_format):
            self._messages[message.name].append(message)
            if message.ids:
                self._by_id[message.ids.start].append(message)
        if database_format == "arxml":
            lines = _Lines(text)
            for found in _SHORT_NAME.finditer(text):
                self._names.setdefault(found[1], lines.at(found.start()))

    def line(self, dbc_id: int, message: str, signal: str = "", start: int = -1, nth: int = 0) -> int:
        """`dbc_id`: with bit 31 for extended ids. `start`: the signal's start bit as a DBC has it.

        `nth`: of several messages of this id and name, counted from 0.
        """
        if not self._messages:
            return self._line_of_name(signal or message)
        named = self._messages.get(message, [])
        found = [one for one in named if dbc_id & one.mask in one.ids] or self._by_id.get(dbc_id, [])
        if not found:
            return 1
        described = found[min(nth, len(found) - 1)]
        return described.line_of(signal, start) if signal else described.line

    def _line_of_name(self, name: str) -> int:
        if name not in self._names:
            at = max(self._text.find(f'"{name}"'), self._text.find(f">{name}<"))
            if at < 0 and (whole := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self._text)):
                at = whole.start()
            at = self._text.find(name) if at < 0 else at
            self._names[name] = self._text.count("\n", 0, at) + 1 if at >= 0 else 1
        return self._names[name]


class _Lines:
    """The lines of rising places in a text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1

    def at(self, place: int) -> int:
        self._line += self._text.count("\n", self._at, place)
        self._at = place
        return self._line


def _described(text: str, statements: Sequence[Statement], database_format: str) -> Iterator[_Described]:
    if database_format == "kcd":
        return _in_kcd(text)
    if database_format == "sym":
        return _in_sym(text)
    return _in_dbc(statements)


def _in_dbc(statements: Iterable[Statement]) -> Iterator[_Described]:
    message: _Described | None = None
    for statement in statements:
        if statement.kind == "BO_" and statement.frame_id is not None:
            if message is not None:
                yield message
            number = statement.frame_id
            if 0x7FF < number < 1 << 29:
                # Taken for an extended id, see DbcFile.correct_extended_bits.
                number |= 1 << 31
            message = _Described(statement.name, statement.line, range(number, number + 1))
        elif statement.kind == "SG_" and message is not None:
            found = _START_BIT.match(statement.text)
            message.signals[statement.name, int(found[1]) if found else -1] = statement.line
    if message is not None:
        yield message


def _in_kcd(text: str) -> Iterator[_Described]:
    message: _Described | None = None
    lines = _Lines(text)
    for found in _KCD_ELEMENT.finditer(text):
        values = {key: double or single for key, double, single in _XML_ATTRIBUTE.findall(found[2])}
        name, line = values.get("name", ""), lines.at(found.start())
        if found[1] == "Message":
            if message is not None:
                yield message
            number = _number(values.get("id", ""), 0) | (values.get("format") == "extended") << 31
            message = _Described(name, line, range(number, number + 1))
        elif message is not None:
            message.signals.setdefault((name, -1), line)
    if message is not None:
        yield message


def _in_sym(text: str) -> Iterator[_Described]:
    """A section without an id goes on with the message of its name, for another multiplexer value."""
    messages: defaultdict[str, list[_Described]] = defaultdict(list)
    section: _Described | None = None
    lines = _Lines(text)
    for found in _SYM_LINE.finditer(text):
        quoted, bare, quoted_signal, bare_signal, first, last = found.groups()
        line = lines.at(found.start())
        if quoted is not None or bare is not None:
            section = _Described((quoted or bare or "").strip(), line, range(0), mask=EXTENDED_ID_MASK)
            messages[section.name].append(section)
        elif section is not None and first is not None:
            low = int(first, 16)
            section.ids = range(low, max(int(last or first, 16), low) + 1)
        elif section is not None:
            section.signals.setdefault((quoted_signal or bare_signal or "", -1), line)
    for parts in messages.values():
        whole = [part for part in parts if part.ids] or parts[:1]
        for part in parts:
            for key, line in part.signals.items():
                whole[0].signals.setdefault(key, line)
        yield from whole


def _number(text: str, base: int) -> int:
    try:
        return int(text[:20], base)
    except ValueError:
        return -1
