"""Load a DBC file whole where cantools can, else in part: what it cannot read is set aside and reported."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from can_stream.databases.cantools_loading import load_with_cantools, reason_of
from can_stream.databases.dbc.file import DbcFile
from can_stream.databases.dbc.limits import excesses
from can_stream.databases.dbc.mending import mend_descriptions
from can_stream.databases.dbc.multiplexing import resolve_multiplexers
from can_stream.databases.dbc.repeated import join_repeated
from can_stream.databases.dbc.statements import Statement
from can_stream.databases.findings import Findings
from can_stream.databases.reading import line_about
from can_stream.errors import DatabaseError

if TYPE_CHECKING:
    from cantools.database import Database

_MAX_ROUNDS: Final = 40
_MAX_PARSED_CHARACTERS: Final = 4_000_000
_AT_LINE: Final = re.compile(r"Invalid syntax at line (\d+)")
_IN_MESSAGE: Final = re.compile(r"signal (\S+) .* in message (\S+?)\.$")
_OF_MESSAGE: Final = re.compile(r"in message (\S+?)\.$")
_UNUSED: Final = re.compile(r"(VAL_|SIG_VALTYPE_) (\d+) (\S+)")


class DbcLoading:
    """The attempts at one file, which are limited in number and in the text they parse."""

    def __init__(self, text: str, findings: Findings) -> None:
        self.file: Final = DbcFile(text, findings)
        self._text = text
        self._findings = findings
        self._parsed_characters = 0
        self._enough = max(_MAX_PARSED_CHARACTERS, 4 * len(text))

    def load(self) -> Database:
        """Raises DatabaseError where no message can be loaded."""
        for statement, reason in list(excesses(self.file.statements)):
            self.file.set_aside(statement, reason)
        self.file.leave_unassigned_signals_out()
        self.file.correct_extended_bits()
        cut = self.file.broken_off()
        mend_descriptions(self.file.statements, self._findings)
        join_repeated(self.file.statements, self._findings)
        resolve_multiplexers(self.file, self._findings)
        try:
            database = self._try(self.file.text)
        except Exception as error:  # cantools raises whatever its parts raise
            if not self.file.has_messages():
                raise DatabaseError(self._findings.path, 1, "there are no messages in it") from error
            return self._load_in_part(reason_of(error))
        if (last := self.file.unended() or cut) is not None:
            return self._load_in_part(f"the file ends within the statement on line {last.line}")
        return database

    def _try(self, text: str) -> Database:
        self._parsed_characters += len(text)
        return load_with_cantools(text, "dbc")

    def _load_in_part(self, reason: str) -> Database:
        first_reason = reason
        self.file.set_unreadable_aside()
        self.file.set_orphans_aside()
        for _ in range(_MAX_ROUNDS):
            if not self.file.has_messages():
                break
            try:
                database = self._try(self.file.text)
            except Exception as error:  # cantools raises whatever its parts raise
                if self._parsed_characters > self._enough or not self._mend(reason_of(error)):
                    reason = reason_of(error)
                    break
            else:
                self._findings.error(
                    line_about(self._text, first_reason),
                    "loaded_in_part",
                    f"the file cannot be read whole, what only describes is left out: {first_reason}",
                )
                return database
        raise DatabaseError(self._findings.path, line_about(self._text, reason), reason)

    def _mend(self, reason: str) -> bool:
        """Set aside what the reason names, else what a search finds; False where nothing helps."""
        before = self.file.left
        in_message, of_message = _IN_MESSAGE.search(reason), _OF_MESSAGE.search(reason)
        if at_line := _AT_LINE.search(reason):
            self._set_aside_line(int(at_line.group(1)), reason)
        elif unused := _UNUSED.findall(reason):
            for kind, number, name in unused:
                for statement in self.file.find(kind, name, int(number)):
                    self.file.set_aside(statement, "there is no such signal")
        elif in_message:
            for head in self.file.find("BO_", in_message.group(2)):
                for signal in self.file.find("SG_", in_message.group(1), head.frame_id):
                    self.file.set_aside(signal, reason)
        if self.file.left == before and of_message:
            for head in self.file.find("BO_", of_message.group(1)):
                self.file.set_aside(head, reason)
        if self.file.left == before:
            self._search(reason)
        self.file.set_orphans_aside()
        return self.file.left < before

    def _set_aside_line(self, line: int, reason: str) -> None:
        reached = [
            statement for statement in self.file.statements if statement.kind and statement.line <= line
        ]
        if reached:
            self.file.set_aside(reached[-1], reason)

    def _search(self, reason: str) -> None:
        """Halve the groups of statements until one is left that cannot be loaded, and set that one aside."""
        groups: defaultdict[int | None, list[Statement]] = defaultdict(list)
        for statement in self.file.statements:
            if statement.kind:
                groups[statement.frame_id].append(statement)
        common = groups.pop(None, [])
        suspects = list(groups.values())
        if not self._loads(common):
            suspects, common = [[statement] for statement in common], []
        found = self._bad_one(common, suspects)
        attributes = [[statement] for statement in found if statement.kind == "BA_"]
        others = common + [statement for statement in found if statement.kind != "BA_"]
        if attributes and self._loads(others):
            # What only describes a message costs no signal of it.
            found = self._bad_one(others, attributes)
        for statement in found:
            self.file.set_aside(statement, reason)

    def _bad_one(self, common: list[Statement], suspects: list[list[Statement]]) -> list[Statement]:
        """The group that cannot be loaded, with `common`, which can; none where that takes too long."""
        while len(suspects) > 1 and self._parsed_characters <= self._enough:
            half = suspects[: len(suspects) // 2]
            loads = self._loads(common + [statement for group in half for statement in group])
            suspects = suspects[len(half) :] if loads else half
        return suspects[0] if len(suspects) == 1 else []

    def _loads(self, statements: list[Statement]) -> bool:
        ordered = sorted(statements, key=lambda statement: statement.line)
        try:
            self._try("".join(statement.text for statement in ordered) or "\n")
        except Exception:  # cantools raises whatever its parts raise
            return not ordered
        return True
