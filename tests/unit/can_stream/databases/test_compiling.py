"""Messages of cantools as those of a table: what is kept, what is left out with which finding, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from can_stream.databases.compiling import compile_message, dbc_id_of, is_j1939
from can_stream.databases.findings import Finding, Findings, Severity
from can_stream.databases.loaded import LoadedDatabases
from can_stream.databases.loading import load_databases, parse_database
from can_stream.signals.model import Encoding, MessageModel, SignalModel

HEAD = 'VERSION ""\nBU_: ECU\n'


def parsed(directory: Path, *lines: str) -> tuple[Any, Findings, Any]:
    path = directory / "bus.dbc"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    findings = Findings(path)
    found = parse_database(path, findings)
    findings.found.clear()
    return found.database, findings, found.locator


def compiled(directory: Path, *lines: str) -> tuple[MessageModel, list[Finding]]:
    """The only message of a file, and what there is to say about it."""
    database, findings, locator = parsed(directory, *lines)
    (message,) = database.messages
    model = compile_message(message, j1939=is_j1939(database), locator=locator, findings=findings)
    return model, findings.found


def signals(model: MessageModel) -> dict[str, SignalModel]:
    return {signal.name: signal for signal in model.signals}


def test_every_part_of_a_signal_is_kept(tmp_path: Path) -> None:
    model, found = compiled(
        tmp_path,
        "BO_ 256 Engine: 8 ECU",
        ' SG_ Little : 4|12@1- (0.25,-40) [0|0] "degC" ECU',
        ' SG_ Big : 23|16@0+ (1,0) [0|0] "" ECU',
        ' SG_ Real : 32|32@1- (1,0) [0|0] "" ECU',
        'VAL_ 256 Little 7 "seven" -1 "minus one" ;',
        "SIG_VALTYPE_ 256 Real : 1;",
    )
    assert found == []
    assert (model.name, model.arbitration_id, model.is_extended, model.by_pgn, model.length) == (
        "Engine",
        256,
        False,
        False,
        8,
    )
    assert signals(model) == {
        "Little": SignalModel(
            "Little", 4, 12, False, Encoding.SIGNED, 0.25, -40, "degC", {-1: "minus one", 7: "seven"}
        ),
        "Big": SignalModel("Big", 16, 16, big_endian=True),
        "Real": SignalModel("Real", 32, 32, encoding=Encoding.FLOAT),
    }


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ([], False),
        (['BA_DEF_ "ProtocolType" STRING ;', 'BA_DEF_DEF_ "ProtocolType" "J1939";'], True),
        (
            [
                'BA_DEF_ "ProtocolType" STRING ;',
                'BA_DEF_DEF_ "ProtocolType" "CAN";',
                'BA_ "ProtocolType" "j1939";',
            ],
            True,
        ),
        (
            [
                'BA_DEF_ "ProtocolType" STRING ;',
                'BA_DEF_DEF_ "ProtocolType" "J1939";',
                'BA_ "ProtocolType" "CAN";',
            ],
            False,
        ),
    ],
)
def test_parameter_groups_match_where_the_file_says_j1939_and_the_id_is_extended(
    tmp_path: Path, attributes: list[str], expected: bool
) -> None:
    lines = ["BO_ 2566844926 Long: 8 ECU", ' SG_ S : 0|8@1+ (1,0) [0|0] "" ECU', *attributes]
    model, _ = compiled(tmp_path, *lines)
    assert (model.is_extended, model.by_pgn) == (True, expected)
    lines[0] = "BO_ 256 Short: 8 ECU"
    model, _ = compiled(tmp_path, *lines)
    assert not model.by_pgn


def test_an_extended_id_is_written_with_its_bit(tmp_path: Path) -> None:
    database, _, _ = parsed(tmp_path, "BO_ 2566844926 Long: 8 ECU", "BO_ 256 Short: 8 ECU")
    assert {message.name: dbc_id_of(message) for message in database.messages} == {
        "Long": 2566844926,
        "Short": 256,
    }


MUX = (
    "BO_ 300 Mux: 8 ECU",
    ' SG_ Which M : 0|8@1+ (1,0) [0|0] "" ECU',
    ' SG_ One m1 : 8|8@1+ (1,0) [0|0] "" ECU',
    ' SG_ Many m2 : 8|8@1+ (1,0) [0|0] "" ECU',
)


def test_a_multiplexed_signal_is_there_for_the_values_that_pick_it(tmp_path: Path) -> None:
    model, found = compiled(tmp_path, *MUX, "SG_MUL_VAL_ 300 Many Which 2-4, 9-9, 5-5 ;")
    assert found == []
    at = [signal.name for signal in model.signals].index("Which")
    known = signals(model)
    assert (known["One"].selector, known["One"].ranges) == (at, ((1, 1),))
    assert (known["Many"].selector, known["Many"].ranges) == (at, ((2, 5), (9, 9)))
    assert known["Which"].selector == -1


@pytest.mark.parametrize("scaling", ["(0.5,0)", "(1,1)", "(-2,7)"])
def test_values_that_pick_are_raw_ones_whatever_the_multiplexer_is_scaled_by(
    tmp_path: Path, scaling: str
) -> None:
    model, found = compiled(tmp_path, MUX[0], MUX[1].replace("(1,0)", scaling), *MUX[2:])
    assert signals(model)["One"].ranges == ((1, 1),)
    assert signals(model)["Many"].ranges == ((2, 2),)
    assert [(one.line, one.severity, one.code) for one in found] == [
        (4, Severity.WARNING, "scaled_multiplexer")
    ], "cantools compares the scaled value"


def test_what_a_table_cannot_hold_is_left_out_with_its_line_and_so_is_what_it_picks(tmp_path: Path) -> None:
    model, found = compiled(
        tmp_path,
        MUX[0],
        MUX[1].replace("(1,0)", "(99999999999999999999,0)"),
        *MUX[2:],
        ' SG_ Stays : 16|8@1+ (1,0) [0|0] "" ECU',
    )
    assert list(signals(model)) == ["Stays"]
    assert [(one.line, one.severity, one.code) for one in found] == [
        (4, Severity.ERROR, "unsupported"),
        (5, Severity.WARNING, "unreachable"),
        (6, Severity.WARNING, "unreachable"),
    ]
    assert found[0].message == "Mux.Which is not decoded: 99999999999999999999 is no 64-bit number"
    assert found[1].message == "Mux.One is not decoded: 'Which' never picks it"


def test_choices_of_numbers_that_no_signal_has_are_left_out(tmp_path: Path) -> None:
    model, _ = compiled(
        tmp_path,
        "BO_ 256 Engine: 8 ECU",
        ' SG_ S : 0|8@1+ (1,0) [0|0] "" ECU',
        'VAL_ 256 S 99999999999999999999 "huge" 18446744073709551615 "last" 0 "off" ;',
    )
    assert model.signals[0].choices == {0: "off", 18446744073709551615: "last"}


def test_what_was_loaded_is_one_table_and_what_there_is_to_say(tmp_path: Path) -> None:
    path = tmp_path / "bus.dbc"
    path.write_text(HEAD + "\n".join(MUX) + "\n")
    loaded = load_databases([path])
    assert isinstance(loaded, LoadedDatabases)
    assert [message.name for message in loaded.table.messages] == ["Mux"]
    assert [(one.path, one.code) for one in loaded.report] == [(path, "loaded")]
    with pytest.raises(AttributeError):
        loaded.report = ()  # type: ignore[misc]
