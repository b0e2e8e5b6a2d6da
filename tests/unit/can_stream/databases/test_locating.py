"""Where a message or signal is described: exactly in DBC, elsewhere where its name first stands."""

from __future__ import annotations

import pytest

from can_stream.databases.dbc.statements import split_statements
from can_stream.databases.locating import Locator

DBC = """VERSION ""

BO_ 256 Engine: 8 ECU
 SG_ Speed : 0|16@1+ (1,0) [0|0] "" ECU

 SG_ Temp : 16|8@1+ (1,0) [0|0] "" ECU
BO_ 2147484160 Long: 8 ECU
 SG_ Speed : 0|16@1+ (1,0) [0|0] "" ECU
BO_ 70000 Unmarked: 8 ECU
 SG_ Odd : 0|16@1+ (1,0) [0|0] "" ECU
CM_ SG_ 256 Temp "Speed and Temp";
"""
EXTENDED = 1 << 31


@pytest.fixture
def dbc() -> Locator:
    return Locator(DBC, split_statements(DBC))


def test_signals_of_one_name_are_found_in_their_messages(dbc: Locator) -> None:
    assert (dbc.line(256, "Engine"), dbc.line(256, "Engine", "Speed"), dbc.line(256, "Engine", "Temp")) == (
        3,
        4,
        6,
    )
    assert (dbc.line(EXTENDED | 512, "Long"), dbc.line(EXTENDED | 512, "Long", "Speed")) == (7, 8)


def test_an_id_that_lacks_its_extended_bit_is_found_as_what_it_is_taken_for(dbc: Locator) -> None:
    assert dbc.line(EXTENDED | 70000, "Unmarked", "Odd") == 10


def test_what_is_not_there_is_at_its_message_or_at_the_top(dbc: Locator) -> None:
    assert dbc.line(256, "Engine", "Gone") == 3
    assert dbc.line(512, "Long", "Speed") == 1, "the standard id of that number"


@pytest.mark.parametrize(
    ("name", "line"),
    [("Speed", 3), ("Temp", 4), ("Bare", 5), ("Engine", 2), ("Gone", 1)],
)
def test_elsewhere_a_name_in_quotes_or_in_a_tag_goes_before_one_that_is_part_of_another(
    name: str, line: int
) -> None:
    head = '<!-- EngineSpeed, Tempo -->\n<Message name="Engine">\n<Signal name="Speed">\n'
    text = head + "<N>Temp</N>\nBare Speed\n"
    locator = Locator(text, [])
    assert locator.line(256, "Engine", name if name != "Engine" else "") == line
    assert locator.line(1, name) == line, "whatever the id"
