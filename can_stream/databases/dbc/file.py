"""A DBC file whose bad statements are set aside, with all that would be misread without them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from can_stream.databases.dbc.statements import GRAMMAR, JUNK, Statement, renumber, split_statements
from can_stream.databases.findings import Findings

_EXTENDED_BIT: Final = 1 << 31
_NAMES_NODE: Final = re.compile(r'(?:"[^"]*"|:\s*\d+\s)\s*[^\W\d][^":|]*$')
_UNASSIGNED: Final = "VECTOR__INDEPENDENT_SIG_MSG"
_UNASSIGNED_ID: Final = 0xC000_0000
# Statements without which a signal would be decoded wrongly.
_DECISIVE: Final = ("SIG_VALTYPE_", "SG_MUL_VAL_")
# What a signal table is made of; the rest describes, and is left out of a file that loads in part.
_NEEDED: Final = {"BO_", "SG_", "VAL_", "SIG_VALTYPE_", "SG_MUL_VAL_", "BA_DEF_", "BA_DEF_DEF_", "BA_"}
_ENDED: Final = set(GRAMMAR) - {"BO_", "SG_"}
_ZEROS: Final = "\0" * 8
_LIKE_SIGNAL: Final = re.compile(r"\|\s*\d+\s*@")
_IS_PLAIN: Final = re.compile(r"\s*SG_\s+\w+\s*:")
_IS_CHILD: Final = re.compile(r"\s*SG_\s+\w+\s+m\d+\s*:")
_IS_MARKED: Final = re.compile(r"\s*SG_\s+\w+\s+\w+\s*:")
_SPEAKS_OF: Final = re.compile(r"(?<!\d)(\d{1,10})\s+(\w+)(?=[\s:;])")
# Of a statement whose beginning is damaged these letters may be left.
_LIKE_ATTACHMENT: Final = re.compile(r"[^A-Za-z]*(?:SI|SG|S\W)")
_RUNS_ON: Final = re.compile(r'[^:]*:[^:"]*(?::|"[^"]*"[\w\s,]*[^\w\s,])')
_LENGTH: Final = re.compile(r"[^:]*:\s*\d+\s*\|\s*(\d+)")


class DbcFile:
    """One file on its way to a database: its statements, and the findings that grow as some are set aside."""

    def __init__(self, text: str, findings: Findings) -> None:
        self.statements: Final = split_statements(text)
        self._findings = findings
        self._known = self._list_signals()

    @property
    def text(self) -> str:
        """What is left, on the lines where it was."""
        return "".join(statement.text for statement in self.statements)

    @property
    def left(self) -> int:
        """How many statements are left."""
        return sum(1 for statement in self.statements if statement.kind)

    def has_messages(self) -> bool:
        """Whether any message is left."""
        return any(statement.kind == "BO_" for statement in self.statements)

    def broken_off(self) -> Statement | None:
        """As `unended`, before it is mended: a last line that has no end, and no receiver or sender."""
        last = self.unended()
        is_whole = last is None or last.text.endswith("\n") or _NAMES_NODE.search(last.text)
        return None if is_whole else last

    def unended(self) -> Statement | None:
        """The last statement where the file ends within it, which cantools passes over without a word."""
        last = next((statement for statement in reversed(self.statements) if statement.kind), None)
        if last is None or last.kind == JUNK or last.is_readable():
            return None
        is_ended = last.kind in _ENDED and last.stripped().endswith(";")
        return None if is_ended else last

    def set_aside(self, statement: Statement, reason: str) -> None:
        """Take a statement out, with what depends on it."""
        if not statement.kind:
            return
        self._report(statement, reason)
        gone = Statement(statement.kind, statement.line, statement.text, statement.frame_id)
        statement.blank()
        if gone.kind == "BO_":
            self._drop_message(statement, gone)
        elif gone.kind == "SG_":
            self._without_signal(statement, gone)
        elif gone.kind in _DECISIVE:
            self._without_attachment(gone)
        elif gone.kind == JUNK:
            self._without_junk(statement, gone)

    def leave_out(self, reasons: Sequence[tuple[Statement, str]]) -> None:
        """Take signals out, each for its reason, with what speaks of them alone."""
        gone = set()
        for statement, reason in reasons:
            if statement.kind:
                self._report(statement, reason)
                gone.add((statement.frame_id, statement.name))
                statement.blank()
        gone -= self._list_signals() if gone else set()
        for statement in self.statements if gone else ():
            if statement.kind in ("VAL_", *_DECISIVE) and (statement.frame_id, statement.name) in gone:
                statement.blank()

    def add(self, statements: Iterable[Statement]) -> None:
        """What the file should have said, behind its end."""
        if self.statements and not self.statements[-1].text.endswith("\n"):
            self.statements[-1].text += "\n"
        self.statements.extend(statements)

    def leave_unassigned_signals_out(self) -> None:
        """Signals that are in no message: CANdb++ keeps them in one that is none."""
        heads = self.find("BO_", _UNASSIGNED)
        kept = {head.frame_id for head in heads}
        for head in heads:
            for signal in self._after(head):
                signal.blank()
            if head.frame_id != _UNASSIGNED_ID:
                self._report(head, "its name is that of what is in no message")
            head.blank()
        for statement in self.statements if kept else ():
            if statement.kind in ("VAL_", *_DECISIVE) and statement.frame_id in kept:
                statement.blank()

    def correct_extended_bits(self) -> None:
        """Take ids of more than 11 bits for extended ones, wherever they are named."""
        wrong = set()
        for statement in self.statements:
            number = statement.frame_id
            if statement.kind == "BO_" and number is not None and 0x7FF < number < 1 << 29:
                wrong.add(number)
                what = f"id {number:#x} has more than 11 bits but is not marked extended: it is taken as such"
                self._findings.warn(statement.line, "extended_bit", what)
        for statement in self.statements:
            if statement.frame_id in wrong:
                renumber(statement, statement.frame_id | _EXTENDED_BIT)
        self._known |= self._list_signals()

    def set_unreadable_aside(self) -> None:
        """Set aside what does not read as it must, and leave out what only describes."""
        for statement in self.statements:
            further = statement.further_lines() if statement.kind else []
            if statement.kind and not statement.is_readable():
                self.set_aside(statement, _reason_of(statement))
            elif statement.kind not in _NEEDED:
                statement.blank()
            if not statement.kind:
                for line in further:
                    self._report(line, "it may be a statement of its own")
                    self._without_junk(statement, line)

    def set_orphans_aside(self) -> None:
        """What refers to a message or signal that is not there, which cantools refuses."""
        signals = defaultdict(set)
        for statement in self.statements:
            if statement.kind == "SG_":
                signals[statement.frame_id].add(statement.name)
        for statement in self.statements:
            if statement.kind not in ("VAL_", *_DECISIVE) or statement.frame_id is None:
                continue
            if statement.name not in signals[statement.frame_id]:
                self._report(statement, "there is no such signal")
                statement.blank()

    def find(self, kind: str, name: str, frame_id: int | None = None) -> list[Statement]:
        """Messages or signals of a name (of the message `frame_id`)."""
        return [
            statement
            for statement in self.statements
            if statement.kind == kind
            and statement.name == name
            and (frame_id is None or statement.frame_id == frame_id)
        ]

    def _report(self, statement: Statement, reason: str) -> None:
        what = f"{_first_line(statement)!r} is set aside: {reason}"
        self._findings.error(statement.line, "set_aside", what)

    def _after(self, statement: Statement) -> list[Statement]:
        """The signals between a statement and the next message."""
        at = next(index for index, other in enumerate(self.statements) if other is statement)
        signals = []
        for other in self.statements[at + 1 :]:
            if other.kind == "BO_":
                break
            if other.kind == "SG_":
                signals.append(other)
        return signals

    def _drop_message(self, head: Statement, gone: Statement) -> None:
        for signal in self._after(head):
            signal.blank()
        if not any(other.kind == "BO_" and other.frame_id == gone.frame_id for other in self.statements):
            for statement in self.statements:
                if statement.frame_id == gone.frame_id and gone.frame_id is not None:
                    statement.blank()

    def _without_signal(self, place: Statement, gone: Statement) -> None:
        """Without a multiplexer (or what may have been one) its signals would seem to be always there.

        What runs on behind the receivers may hold the beginning of the next message.
        """
        if not gone.name:
            # Of SG_MUL_VAL_ this may be left.
            self._without_attachment(gone)
        if not gone.is_readable() and _RUNS_ON.match(gone.text):
            for signal in self._after(place):
                self.set_aside(signal, f"its message may begin on line {gone.line}")
        if _IS_PLAIN.match(gone.text) or _IS_CHILD.match(gone.text):
            return
        heads = [head for head in self.statements if head.kind == "BO_" and head.frame_id == gone.frame_id]
        for signal in [signal for head in heads for signal in self._after(head)] + self._after(place):
            if _IS_MARKED.match(signal.text):
                self.set_aside(signal, f"its multiplexer may be on line {gone.line}")

    def _without_junk(self, place: Statement, gone: Statement) -> None:
        """It may have begun a message, been a multiplexer, or said how to read a signal."""
        if _LIKE_SIGNAL.search(gone.text):
            for signal in self._after(place):
                gone.frame_id = signal.frame_id
            self._without_signal(place, gone)
            return
        for signal in self._after(place):
            self.set_aside(signal, f"its message may begin on line {gone.line}")
        self._without_attachment(gone)

    def _without_attachment(self, gone: Statement) -> None:
        """Signals that `gone` says how to read: the one it names, else all that it may have named."""
        reason = f"line {gone.line} may say how to read it"
        pairs = [(int(number), name) for number, name in _SPEAKS_OF.findall(gone.text)]
        named = [pair for pair in pairs if pair in self._known]
        for number, name in named:
            for signal in self.find("SG_", name, number):
                self.set_aside(signal, reason)
        if named or not _LIKE_ATTACHMENT.match(gone.text):
            return
        for signal in self.statements:
            length = _LENGTH.match(signal.text) if signal.kind == "SG_" else None
            may_be_float = gone.kind != "SG_MUL_VAL_" and length and length.group(1) in ("32", "64")
            may_be_selected = gone.kind != "SIG_VALTYPE_" and _IS_MARKED.match(signal.text)
            if signal.kind == "SG_" and (may_be_float or may_be_selected):
                self.set_aside(signal, reason)

    def _list_signals(self) -> set[tuple[int | None, str]]:
        return {(other.frame_id, other.name) for other in self.statements if other.kind == "SG_"}


def _reason_of(statement: Statement) -> str:
    """Why a statement does not read, where one can tell."""
    text = statement.stripped()
    if text and not text.strip("\0 \t\r\n"):
        return "zero bytes, as a loss of power leaves them"
    if statement.kind in GRAMMAR and text.replace('\\"', "").count('"') % 2:
        return "a quotation mark is not closed"
    if statement.kind in _ENDED and not text.endswith(";"):
        return "no semicolon ends it"
    return "it does not read as a statement of its kind"


def _first_line(statement: Statement) -> str:
    line = statement.text.strip().split("\n", 1)[0].strip()
    if line.startswith(_ZEROS):
        line = _ZEROS + "..."
    return line if len(line) <= 120 else line[:117] + "..."
