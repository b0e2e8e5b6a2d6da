"""A DBC file as statements that can be set aside one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

_KEYWORDS: Final = (
    "BA_DEF_DEF_REL_|BA_DEF_SGTYPE_|BA_DEF_DEF_|BA_DEF_REL_|BA_SGTYPE_|BA_DEF_|BA_REL_|BA_|BO_TX_BU_|BO_|BS_"
    "|BU_BO_REL_|BU_EV_REL_|BU_SG_REL_|BU_|CAT_DEF_|CAT_|CM_|ENVVAR_DATA_|EV_DATA_|EV_|FILTER|NS_DESC_|NS_"
    "|SG_MUL_VAL_|SGTYPE_VAL_|SGTYPE_|SG_|SIGTYPE_VALTYPE_|SIG_GROUP_|SIG_TYPE_REF_|SIG_VALTYPE_"
    "|VAL_TABLE_|VAL_|VERSION"
)
_START: Final = re.compile(rf"[ \t]*({_KEYWORDS})(?![A-Za-z0-9_])")
_BARE: Final = re.compile(r"[ \t]*[A-Z_]+[ \t]*\n?")
_COMMENT: Final = re.compile(r"[ \t]*//")
# A text of so many lines is no text but an open quotation mark.
_MAX_TEXT_LINES: Final = 200
_OPAQUE: Final = re.compile(r'"(?:\\"|[^"])*"|//[^\n]*')
_BEGINS: Final = r"BO_(?=\s+\d+\s+\w+\s*:)|SG_(?=\s+\w+(?:\s+\w+)?\s*:)"
# What begins a message or signal, and in other than lists of keywords what stands in no other statement.
_IN_LIST: Final = re.compile(rf"(?<!\w)(?:{_BEGINS})")
_WITHIN: Final = re.compile(
    rf"(?<!\w)(?:{_BEGINS}|(?:VAL_|VAL_TABLE_|SIG_VALTYPE_|SG_MUL_VAL_|CM_|BA_|BA_DEF_|BA_DEF_DEF_|BO_TX_BU_"
    r"|SIG_GROUP_)(?!\w))"
)
_NAME: Final = re.compile(r"\s*(?:SG_|(?:BO_|VAL_|SIG_VALTYPE_|SG_MUL_VAL_)\s+\d+)\s+(\w+)")
_PIECE: Final = re.compile(r"[^\n;]+")
JUNK: Final = "?"

_WORD: Final = r"[A-Za-z_]\w*"
_NUMBER: Final = r"[-+]?\d+\.?\d*(?:[eE][+-]?\d+)?"
_STRING: Final = r'"(?:\\"|[^"])*"'
_OBJECT: Final = rf"(?:BO_\s+\d+|SG_\s+\d+\s+{_WORD}|BU_\s+{_WORD}|EV_\s+{_WORD})"
# How statements that a table is made of must read. The others only describe.
GRAMMAR: Final = {
    kind: re.compile(pattern, re.DOTALL | re.ASCII)
    for kind, pattern in {
        "BO_": rf"BO_\s+\d+\s+{_WORD}\s*:\s*\d+\s+{_WORD}",
        "SG_": rf"SG_\s+{_WORD}(?:\s+(?:M|m\d+M?))?\s*:\s*\d+\s*\|\s*\d+\s*@\s*[01]\s*[-+]\s*"
        rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)\s*\[\s*{_NUMBER}\s*\|\s*{_NUMBER}\s*\]\s*"
        rf"{_STRING}\s*{_WORD}(?:\s*,\s*{_WORD})*",
        "VAL_": rf"VAL_\s+(?:\d+\s+)?{_WORD}(?:\s+[-+]?\d+\s+{_STRING})*\s*;",
        "SIG_VALTYPE_": rf"SIG_VALTYPE_\s+\d+\s+{_WORD}\s*:\s*\d+\s*;",
        "SG_MUL_VAL_": rf"SG_MUL_VAL_\s+\d+\s+{_WORD}\s+{_WORD}\s+\d+\s*-\d+(?:\s*,\s*\d+\s*-\d+)*\s*;",
        "BA_DEF_": rf"BA_DEF_\s+(?:(?:SG_|BO_|EV_|BU_)\s+)?{_STRING}\s+{_WORD}.*;",
        "BA_DEF_DEF_": rf"BA_DEF_DEF_\s+{_STRING}\s+(?:{_NUMBER}|{_STRING})\s*;",
        "BA_": rf"BA_\s+{_STRING}\s+(?:{_OBJECT}\s+)?(?:{_NUMBER}|{_STRING})\s*;",
        "CM_": rf"CM_\s+(?:{_OBJECT}\s+)?{_STRING}\s*;",
    }.items()
}
_ID: Final = re.compile(
    r'\s*(?:BO_|VAL_|SIG_VALTYPE_|SG_MUL_VAL_|BO_TX_BU_|SIG_GROUP_|CM_\s+(?:SG_|BO_)|BA_\s+"[^"]*"\s+(?:SG_|BO_))'
    r"\s+(\d{1,12})\b"
)


class Statement(Struct):
    """`text` from line `line` (from 1) on, as many lines as it has. A signal has the id of its message."""

    kind: str
    line: int
    text: str
    frame_id: int | None = None

    def blank(self) -> None:
        """Take the text out and leave the lines."""
        self.kind, self.text = "", "\n" * self.text.count("\n")

    def stripped(self) -> str:
        """The text without the comment lines that follow it, and on one line where it is none itself."""
        lines = self.text.split("\n")
        while lines and (not lines[-1].strip() or _COMMENT.match(lines[-1])):
            lines.pop()
        text = "\n".join(lines).strip()
        return re.sub(r"(?<=[;\w])\s*//[^\n\"]*$", "", text)

    def further_lines(self) -> list[Statement]:
        """What stands on further lines or behind a semicolon, outside of texts: it may be something else."""
        plain = _OPAQUE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), self.text)
        pieces = [found for found in _PIECE.finditer(plain) if found.group().strip()]
        return [
            Statement(JUNK, self.line + plain.count("\n", 0, piece.start()), piece.group())
            for piece in pieces[1:]
            if not (self.kind == "NS_" and _BARE.fullmatch(piece.group()))
        ]

    def is_readable(self) -> bool:
        """Whether it reads as its kind must."""
        if self.kind == JUNK:
            return False
        return self.kind not in GRAMMAR or GRAMMAR[self.kind].fullmatch(self.stripped()) is not None

    @property
    def name(self) -> str:
        """What a message or signal calls itself, and which signal an attachment of one speaks of."""
        found = _NAME.match(self.text)
        return found.group(1) if found else ""


def split_statements(text: str) -> list[Statement]:
    """All of `text`. What is no statement and does not continue one has the kind JUNK."""
    lines = text.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + lines[-1:]
    whole: list[Statement] = []
    at = 0
    while at < len(lines):
        start = _START.match(lines[at])
        before = whole[-1] if whole else Statement("", 1, "")
        taken = 1
        if start and not (before.kind == "NS_" and _BARE.fullmatch(lines[at])):
            taken = _lines_of_text(lines, at)
            whole.append(Statement(start.group(1), at + 1, "".join(lines[at : at + taken])))
        elif whole and _continues(before, lines[at]):
            before.text += lines[at]
        else:
            is_blank = not lines[at].strip() or _COMMENT.match(lines[at])
            whole.append(Statement("" if is_blank else JUNK, at + 1, lines[at]))
        at += taken
    statements = [part for statement in whole for part in _parts(statement)]
    _number(statements)
    return statements


def _continues(before: Statement, line: str) -> bool:
    """Whether a line without a keyword belongs to the statement before it."""
    if not line.strip() or _COMMENT.match(line):
        return True
    so_far = before.stripped()
    if before.kind in ("BO_", "SG_"):
        return so_far.endswith(",") or line.lstrip().startswith(",")
    return before.kind not in ("", JUNK) and not so_far.endswith(";")


def _parts(statement: Statement) -> Iterator[Statement]:
    """The messages and signals that begin within a line, each as a statement of its own."""
    plain = _OPAQUE.sub(lambda found: " " * len(found.group()), statement.text)
    pattern = _IN_LIST if statement.kind == "NS_" else _WITHIN
    kind, first, line = statement.kind, 0, statement.line
    for found in pattern.finditer(plain):
        if plain[first : found.start()].strip():
            yield Statement(kind, line, statement.text[first : found.start()])
            line += statement.text.count("\n", first, found.start())
            first = found.start()
        kind = found.group()
    yield Statement(kind, line, statement.text[first:])


def _lines_of_text(lines: list[str], at: int) -> int:
    """How many lines the texts of the statement at line `at` need to be closed; 1 where they are never."""
    quotes = 0
    for taken, line in enumerate(lines[at : at + _MAX_TEXT_LINES], 1):
        quotes += line.replace('\\"', "").count('"')
        if quotes % 2 == 0:
            return taken
    return 1


def _number(statements: list[Statement]) -> None:
    message: int | None = None
    for statement in statements:
        found = _ID.match(statement.text)
        statement.frame_id = int(found.group(1)) if found else None
        if statement.kind == "BO_":
            message = statement.frame_id
        elif statement.kind == "SG_":
            statement.frame_id = message


def renumber(statement: Statement, frame_id: int) -> None:
    """Write another id into a statement that names one."""
    found = _ID.match(statement.text)
    if found:
        statement.text = statement.text[: found.start(1)] + str(frame_id) + statement.text[found.end(1) :]
    statement.frame_id = frame_id
