"""Where in a database file a message or signal is described."""

from __future__ import annotations

from can_stream.databases.dbc.statements import Statement


class Locator:
    """Lines (from 1) of messages and signals: exact in DBC, in other formats where the name first stands."""

    def __init__(self, text: str, statements: list[Statement]) -> None:
        self._text = text
        self._messages: dict[int, int] = {}
        self._signals: dict[tuple[int, str], int] = {}
        self._names: dict[str, int] = {}
        for statement in statements:
            number = statement.frame_id
            if number is None:
                continue
            if 0x7FF < number < 1 << 29:
                # Taken for an extended id, see DbcFile.correct_extended_bits.
                number |= 1 << 31
            if statement.kind == "BO_":
                self._messages[number] = statement.line
            elif statement.kind == "SG_":
                self._signals[number, statement.name] = statement.line

    def line(self, dbc_id: int, message: str, signal: str = "") -> int:
        """`dbc_id`: with bit 31 for extended ids."""
        if self._messages:
            at = self._messages.get(dbc_id, 1)
            return self._signals.get((dbc_id, signal), at)
        return self._line_of_name(signal or message)

    def _line_of_name(self, name: str) -> int:
        if name not in self._names:
            at = max(self._text.find(f'"{name}"'), self._text.find(f">{name}<"))
            at = self._text.find(name) if at < 0 else at
            self._names[name] = self._text.count("\n", 0, at) + 1 if at >= 0 else 1
        return self._names[name]
