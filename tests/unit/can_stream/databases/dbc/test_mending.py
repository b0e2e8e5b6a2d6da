"""What only describes is not needed: limits, unit, receivers and sender that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from can_stream.databases.dbc.mending import mend_descriptions
from can_stream.databases.dbc.statements import split_statements
from can_stream.databases.findings import Findings, Severity
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases

SIGNAL = " SG_ A : 0|8@1+ (0.5,-2) "


@pytest.mark.parametrize(
    ("rest", "missing"),
    [
        ('[-1.#INF|1.#INF] "V" ECU', "limits"),
        ('[NaN|3.4E+38] "V" ECU', "limits"),
        ('[|] "V" ECU', "limits"),
        ('[0|255 "V" ECU', "limits"),
        ('[0x0|0xFF] "V" ECU', "limits"),
        ('[0,5|1,5] "V" ECU', "limits"),
        ('"V" ECU', "limits"),
        ('[0|0] "V"', "receivers"),
        ('[0|0] "V" ECU1 ECU2', "receivers"),
        ('[0|0] "V" Stra\xdfe', "receivers"),
        ('[0|0] "V" ECU-1, ECU', "receivers"),
        ("[0|0] ECU", "unit"),
        ("[|]", "limits and unit and receivers"),
    ],
)
def test_a_signal_is_decoded_without_what_only_describes_it(tmp_path: Path, rest: str, missing: str) -> None:
    path = tmp_path / "bus.dbc"
    path.write_text(f'BO_ 1 M: 8 ECU\n SG_ B : 8|8@1+ (1,0) [0|0] "" ECU\n{SIGNAL}{rest}\n')
    (loaded, mended) = lint([path])
    assert loaded.message == "loaded whole: 1 messages, 2 signals"
    assert (mended.line, mended.severity, mended.code) == (3, Severity.WARNING, "mended")
    assert f"its {missing} cannot be read" in mended.message
    signal = load_databases([path]).table.signals[0]
    assert (signal.name, signal.scale, signal.offset) == ("A", 0.5, -2)
    assert signal.unit == ("V" if "unit" not in missing else "")


@pytest.mark.parametrize("sender", ["", "ECU Other", "Stra\xdfe"])
def test_a_message_is_decoded_without_a_sender(tmp_path: Path, sender: str) -> None:
    path = tmp_path / "bus.dbc"
    path.write_text(f'BO_ 1 M: 8 {sender}\n SG_ B : 8|8@1+ (1,0) [0|0] "" ECU\n')
    assert [finding.code for finding in lint([path])] == ["mended", "loaded"]
    assert [signal.name for signal in load_databases([path]).table.signals] == ["B"]


@pytest.mark.parametrize(
    "line",
    [
        ' SG_ A : 0|8@1+ (1;0) [0|0] "" ECU',
        ' SG_ A : 0|8@1+ (1,0,5) [0|0] "" ECU',
        ' SG_ A : 0|8@1+ (0.5,-2) [0|0] "" ECU BO_ 25',
        ' SG_ A : 0|8@1+ (0.5,-2) [0|0] "" ECU BO_',
        ' SG_ A : 0|8@1+ (0.5,-2) [0|0] "" ECU B\xa7O_ 2: 8',
        ' SG_ A : 0|8@1+ (0.5,-2) [0|0] "km/h ECU',
        ' SG_ A X Y : 0|8@1+ (1,0) [0|0] "" ECU',
        "BO_ 0x125 Hex: 8 ECU",
        "BO_ 1 M: 8 ECU SG_MUL_VAL_",
    ],
)
def test_what_decides_a_value_or_may_begin_something_else_is_left_alone(line: str) -> None:
    findings = Findings(Path("bus.dbc"))
    statements = split_statements(f"{line}\n")
    before = [statement.text for statement in statements]
    mend_descriptions(statements, findings)
    assert ([statement.text for statement in statements], findings.found) == (before, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('VAL_ 1 A 1 "on"', "no semicolon ends it"),
        ('CM_ "made of base.dbc"', "no semicolon ends it"),
        ('CM_ SG_ 1 A "never closed;', "a quotation mark is not closed"),
        ('VAL_ 1 A x "on" ;', "it does not read as a statement of its kind"),
        ("\0" * 64, "zero bytes, as a loss of power leaves them"),
    ],
)
def test_what_is_set_aside_says_what_to_mend(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "bus.dbc"
    path.write_text(f'BO_ 1 M: 8 ECU\n SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n{line}\n')
    (aside,) = [finding for finding in lint([path]) if finding.code == "set_aside"]
    assert aside.line == 3
    assert aside.message.endswith(f" is set aside: {reason}")
    assert len(aside.message) < 100
