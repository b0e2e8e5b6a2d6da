"""DBC files as tools write, join and cut them."""

from __future__ import annotations

from pathlib import Path

import pytest

from can_stream.databases.findings import Finding
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases

HEAD = 'VERSION ""\n\nBU_: ECU\n\n'
SIGNAL = ' SG_ A : 0|8@1+ (1,0) [0|0] "" ECU\n'
MESSAGE = f"BO_ 291 M: 8 ECU\n{SIGNAL}"


def written(tmp_path: Path, text: str | bytes) -> tuple[Path, list[Finding]]:
    path = tmp_path / "bus.dbc"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path, lint([path])


@pytest.mark.parametrize(
    "attribute", ['BA_ "VFrameFormat" BO_ 291 "StandardCAN";', 'BA_ "VFrameFormat" BO_ 291 99;']
)
def test_an_attribute_that_cannot_be_read_costs_its_message_nothing(tmp_path: Path, attribute: str) -> None:
    defined = 'BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN";\nBA_DEF_DEF_ "VFrameFormat" "";\n'
    path, found = written(tmp_path, f"{HEAD}{MESSAGE}{defined}{attribute}\n")
    assert [signal.name for signal in load_databases([path]).table.signals] == ["A"]
    (aside,) = [finding for finding in found if finding.code == "set_aside"]
    assert (aside.line, attribute in aside.message) == (9, True)


def test_signals_that_are_in_no_message_are_no_error(tmp_path: Path) -> None:
    unassigned = (
        "BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 Vector__XXX\n"
        ' SG_ B : 0|32@1- (1,0) [0|0] "" Vector__XXX\n SG_ C m1 : 0|8@1+ (1,0) [0|0] "" Vector__XXX\n\n'
    )
    said = 'VAL_ 3221225472 B 1 "one" ;\nSIG_VALTYPE_ 3221225472 B : 1;\nCM_ SG_ 3221225472 B "text";\n'
    _, found = written(tmp_path, f"{HEAD}{unassigned}{MESSAGE}{said}")
    assert [finding.message for finding in found] == ["loaded whole: 1 messages, 1 signals"]
    _, found = written(tmp_path, HEAD + unassigned + said)
    assert [finding.code for finding in found] == ["no_messages", "loaded"]


def test_a_file_without_messages_says_so(tmp_path: Path) -> None:
    path, found = written(tmp_path, HEAD)
    assert [finding.code for finding in found] == ["no_messages", "loaded"]
    assert not load_databases([path]).table.messages


def test_all_values_of_a_repeated_sg_mul_val_pick_the_signal(tmp_path: Path) -> None:
    signals = (
        ' SG_ S M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m0 : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ C m1 : 16|8@1+ (1,0) [0|0] "" ECU\n'
    )
    said = "SG_MUL_VAL_ 291 A S 0-0, 9-9;\nSG_MUL_VAL_ 291 A S 5-6;\n"
    path, found = written(tmp_path, f"{HEAD}BO_ 291 M: 8 ECU\n{signals}{said}")
    assert [(finding.line, finding.code) for finding in found if finding.code != "loaded"] == [
        (10, "multiplexing")
    ]
    (a,) = [signal for signal in load_databases([path]).table.signals if signal.name == "A"]
    assert sorted(a.ranges) == [(0, 0), (5, 6), (9, 9)]


@pytest.mark.parametrize(
    ("last", "is_cut"),
    [
        (" SG_ B : 8|8@1+ (1,0) [0|", True),
        (' SG_ B : 8|8@1+ (1,0) [0|0] "k', True),
        ("BO_ 292 N: 6", True),
        (' SG_ B : 8|8@1+ (1,0) [|] "" ECU', False),
        (' SG_ B : 8|8@1+ (1,0) [0|0] ""\n', False),
    ],
)
def test_a_file_that_ends_within_a_line_is_not_loaded_whole(tmp_path: Path, last: str, is_cut: bool) -> None:
    _, found = written(tmp_path, HEAD + MESSAGE + last)
    assert any(finding.code == "loaded_in_part" for finding in found) == is_cut


def test_a_byte_order_mark_where_files_were_joined_costs_nothing(tmp_path: Path) -> None:
    mark = "\ufeff"
    second = SIGNAL.replace(" A ", " B ")
    path, found = written(tmp_path, f"{mark}{HEAD}{MESSAGE}{mark}{second}{mark}BO_ 292 N: 8 ECU\n{SIGNAL}")
    assert "loaded whole: 2 messages, 3 signals" in [finding.message for finding in found]
    assert len(load_databases([path]).table.signals) == 3


def test_all_choices_of_a_repeated_val_count_and_the_later_ones_first(tmp_path: Path) -> None:
    said = 'VAL_ 291 A 1 "a;b" 2 "old" ; // a comment; x\nVAL_ 291 A 2 "say \\"x\\"" 3 "c" ;\n'
    path, found = written(tmp_path, HEAD + MESSAGE + said)
    assert [(finding.line, finding.code) for finding in found if finding.code != "loaded"] == [
        (8, "repeated")
    ]
    (signal,) = load_databases([path]).table.signals
    assert signal.choices == {1: "a;b", 2: 'say "x"', 3: "c"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("SIG_VALTYPE_ 291 B : 1;\nSIG_VALTYPE_ 291 B : 0;\n", "repeated"),
        ("SIG_VALTYPE_ 291 B : 1;\nSIG_VALTYPE_ 291 B : 1;\n", ""),
        ("SIG_VALTYPE_ 291 B : 3;\n", "unsupported"),
        ("SIG_VALTYPE_ 291 B : 2;\n", ""),
    ],
)
def test_a_kind_of_number_that_is_unclear_is_a_finding(tmp_path: Path, said: str, code: str) -> None:
    signal = ' SG_ B : 16|32@1- (1,0) [0|0] "" ECU\n'
    _, found = written(tmp_path, HEAD + MESSAGE + signal + said)
    assert "".join(finding.code for finding in found if finding.code != "loaded") == code


def test_a_message_of_that_name_with_an_id_of_its_own_is_named(tmp_path: Path) -> None:
    head = "BO_ 5 VECTOR__INDEPENDENT_SIG_MSG: 8 ECU\n"
    _, found = written(tmp_path, HEAD + head + SIGNAL + MESSAGE)
    assert [finding.code for finding in found] == ["loaded", "set_aside"]
