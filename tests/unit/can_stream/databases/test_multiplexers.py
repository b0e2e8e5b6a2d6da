"""Multiplexers of databases: what picks what, and what is said where that is not as it seems."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from can_stream.databases.dbc.file import DbcFile
from can_stream.databases.dbc.multiplexing import resolve_multiplexers
from can_stream.databases.findings import Finding, Findings, Severity
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases
from can_stream.databases.multiplexers import check_multiplexers, check_scaling
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from tests.helpers.cantools_oracle import expected, frames_of, load_both

DATA: Final = Path(__file__).parents[3] / "data" / "databases"


def written(directory: Path, signals: str, *values: str) -> Path:
    """A message 291 of signals `NAME MARK BYTE [SCALING]`, a semicolon between them, and further lines."""
    lines = ["BU_: A", "BO_ 291 M: 8 A"]
    for signal in filter(None, signals.split(";")):
        name, mark, byte, *scaling = signal.split()
        shown = "" if mark == "-" else mark
        factor = scaling[0] if scaling else "(1,0)"
        lines.append(f' SG_ {name} {shown} : {8 * int(byte)}|8@1+ {factor} [0|0] "" A')
    path = directory / "bus.dbc"
    path.write_text("\n".join([*lines, *(f"SG_MUL_VAL_ 291 {value};" for value in values), ""]))
    return path


def shown(path: Path, data: str) -> dict[str, Any]:
    decoded = decode(load_databases([path]).table, frames_of([(291, False, bytes.fromhex(data))]))
    return dict(decoded.values_of(0))


def findings(path: Path, *codes: str) -> list[Finding]:
    return [finding for finding in lint([path]) if finding.code in codes]


@pytest.mark.parametrize(
    ("scaling", "theirs"), [("(1,1)", {0: "M5", 1: "M9"}), ("(0.5,0)", {0: "M1", 2: "M5", 4: "M9"})]
)
def test_the_raw_value_picks_and_where_cantools_differs_is_said(
    tmp_path: Path, scaling: str, theirs: dict[int, str]
) -> None:
    """Vector's DBC description compares the number behind the m with the raw value; canmatrix does so too."""
    path = written(tmp_path, f"G M 0 {scaling};M1 m0 1;M5 m1 1;M9 m2 1")
    for raw, name in enumerate(("M1", "M5", "M9")):
        assert list(shown(path, f"{raw:02x}07000000000000")) == ["G", name]
    _, database = load_both(path)
    for raw, name in theirs.items():
        values = expected(database.messages[0], bytes([raw, 7, 0, 0, 0, 0, 0, 0]), choices=True)
        assert values is not None
        assert name in values, "the difference"
    assert [one.line for one in findings(path, "scaled_multiplexer")] == [3]


@pytest.mark.parametrize("first", [0, 1])
def test_signals_below_two_switches_without_sg_mul_val_are_picked_by_the_outer_one(
    tmp_path: Path, first: int
) -> None:
    path = written(tmp_path, "S0 M 0;S1 m0M 1;A m0 2;B m1 3")
    assert list(shown(path, f"{first:02x}01020304050607")) == (
        ["S0", "S1", "A"] if not first else ["S0", "B"]
    )
    assert [one.line for one in findings(path, "multiplexing")] == [4, 5, 6]


UNUSABLE: Final = [
    ("S0 M 0;S1 M 1;A m0 2;B m1 3", (), "S0, S1 are marked M", {"A", "B"}),
    ("S0 - 0;A m0 2", (), "no signal of its message is marked M", {"A"}),
    ("S1 m0M 0;A m0 2", (), "no signal of its message is marked M", {"S1", "A"}),
    ("S0 M 0;A m0 2", ("A S9 0-0",), "S9 picks it, which is no multiplexer", {"A"}),
    ("S0 M 0;P - 1;A m0 2", ("A P 0-0",), "P picks it, which is no multiplexer", {"A"}),
    ("S0 M 0;A m0 2", ("A S0 9-3",), "has no value that picks it", {"A"}),
    ("S0 M 0;S1 m0M 1;S2 m0M 2;A m0 3", ("S1 S2 0-0", "S2 S1 0-0", "A S1 0-0"), "pick", {"S1", "S2", "A"}),
    ("S0 M 0;S1 m0M 1;A m0 2", ("S1 S1 0-0", "A S1 0-0"), "pick", {"S1", "A"}),
    ("S0 M 0;S1 M 1;S2 m0M 2;A m1 3", ("A S2 0-0",), "S2 is not known to be there", {"S2", "A"}),
    ("S0 M 0;S1 m0M 1;A m0 2", ("S1 S0 0-0", "A S0 0-0", "A S1 0-0"), "several multiplexers", {"A"}),
    ("S0 M 0;A mX 2", (), "neither M nor m and a number", {"A"}),
]


@pytest.mark.parametrize(("signals", "values", "reason", "gone"), UNUSABLE)
def test_what_has_no_usable_switch_is_never_shown_as_if_it_were_there(
    tmp_path: Path, signals: str, values: tuple[str, ...], reason: str, gone: set[str]
) -> None:
    path = written(tmp_path, signals, *values)
    aside = findings(path, "set_aside")
    assert any(reason in one.message for one in aside)
    assert all(one.severity is Severity.ERROR for one in aside)
    left = {signal.split()[0] for signal in signals.split(";")} - gone
    for first in ("00", "01", "02"):
        assert set(shown(path, first * 8)) <= left
    if left:
        assert {signal.name for signal in load_databases([path]).table.signals} == left


def test_sg_mul_val_of_unknown_signals_and_empty_ranges_are_findings(tmp_path: Path) -> None:
    path = written(tmp_path, "S0 M 0;A m1 2;B m2 3", "C S0 1-1", "A S0 5-2, 1-1", "B S0 2-2")
    found = findings(path, "multiplexing")
    assert [(one.line, one.severity) for one in found] == [(6, Severity.WARNING), (7, Severity.WARNING)]
    assert "C, which is no signal" in found[0].message
    assert "5-2" in found[1].message
    assert list(shown(path, "0101010101010101")) == ["S0", "A"]


def test_a_signal_without_a_mark_that_sg_mul_val_picks_is_picked(tmp_path: Path) -> None:
    path = written(tmp_path, "S0 M 0;A - 2", "A S0 3-4")
    assert list(shown(path, "0001010101010101")) == ["S0"]
    assert list(shown(path, "0401010101010101")) == ["S0", "A"]
    assert [one.line for one in findings(path, "multiplexing")] == [4]


def test_what_is_said_well_is_left_as_it_is() -> None:
    text = (
        'BO_ 1 M: 8 A\n SG_ S0 M : 0|8@1+ (1,0) [0|0] "" A\n SG_ S1 m0M : 8|8@1+ (1,0) [0|0] "" A\n'
        ' SG_ A m4 : 16|8@1+ (1,0) [0|0] "" A\nSG_MUL_VAL_ 1 S1 S0 0-0;\nSG_MUL_VAL_ 1 A S1 4-6, 9-9;'
    )
    said = Findings(Path("bus.dbc"))
    file = DbcFile(text, said)
    resolve_multiplexers(file, said)
    assert (file.text.rstrip("\n"), said.found) == (text, [])


def test_values_that_a_multiplexer_has_no_bits_for_are_said(tmp_path: Path) -> None:
    path = written(tmp_path, "S0 M 0;A m300 2;B m1 3;C m255 4", "B S0 250-260")
    found = findings(path, "unreachable")
    assert [(one.line, one.message) for one in found] == [
        (4, "M.A is never there, for 300 picks it: its multiplexer S0 has 8 bits, 0 to 255"),
        (5, "M.B is not there for 250 to 260: its multiplexer S0 has 8 bits, 0 to 255"),
    ]
    assert list(shown(path, "2c01010101010101")) == ["S0"], "300 without its ninth bit"
    assert list(shown(path, "ff01010101010101")) == ["S0", "B", "C"]


def test_a_factor_that_is_no_number_is_one_finding(tmp_path: Path) -> None:
    path = written(tmp_path, "S M 0 (1e400,0);B m1 1;P - 2 (1,1e400)")
    found = findings(path, "not_finite", "scaled_multiplexer")
    assert [(one.line, one.severity) for one in found] == [(3, Severity.ERROR), (5, Severity.WARNING)]
    assert shown(path, "0105000000000000") == {"S": float("inf"), "B": 5, "P": float("inf")}


def test_a_model_is_checked_whatever_it_was_made_from() -> None:
    selector = SignalModel("S", 0, 4, encoding=Encoding.SIGNED, scale=2)
    child = SignalModel("A", 8, 8, selector=0, ranges=((9, 12),))
    said = Findings(Path("bus.kcd"))
    model = MessageModel("M", 1, False, False, 8, (selector, child))
    check_scaling(model, lambda index: index + 1, said)
    check_multiplexers(model, lambda index: index + 1, said)
    assert [(one.line, one.code) for one in said.found] == [(1, "scaled_multiplexer"), (2, "unreachable")]


def test_choices_with_float_limits_name_their_values() -> None:
    table = load_databases([DATA / "choice_with_float_limits.arxml"]).table
    assert table.signals[0].choices == {0: "Off", 1: "On"}
    assert decode(table, frames_of([(256, False, bytes([1, 0, 0, 0, 0, 0, 0, 0]))])).values_of(0) == {
        "ILamp": "On"
    }


def test_a_hex_value_of_a_sym_file_may_begin_with_a_letter() -> None:
    table = load_databases([DATA / "hex_multiplexer.sym"]).table
    frames = frames_of([(0x123, False, bytes([first, 5, 0, 0, 0, 0, 0, 0])) for first in (9, 0xA0, 1)])
    decoded = decode(table, frames)
    assert [decoded.values_of(row).get("Payload") for row in range(3)] == [5, 5, None]
