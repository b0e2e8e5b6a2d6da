"""Database files: what loads, what is set aside, what the linter says and where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cantools.database.errors import ParseError

from can_stream.databases.cantools_loading import reason_of
from can_stream.databases.dbc.limits import excesses
from can_stream.databases.dbc.statements import split_statements
from can_stream.databases.findings import Finding, Severity
from can_stream.databases.isolated import load_isolated
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases
from can_stream.errors import DatabaseError
from can_stream.signals.evaluate import decode
from tests.helpers.cantools_oracle import frames_of

GOOD = """VERSION ""
BU_: ECU
BO_ 256 Engine: 8 ECU
 SG_ Speed : 0|16@1+ (0.25,0) [0|16000] "rpm" ECU
 SG_ Temp : 16|8@1- (1,-40) [-40|215] "degC" ECU
VAL_ 256 Temp 0 "cold" ;
"""


def written(directory: Path, text: str | bytes, name: str = "bus.dbc") -> Path:
    path = directory / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def of_code(findings: list[Finding], code: str) -> list[Finding]:
    return [finding for finding in findings if finding.code == code]


def names(path: Path) -> list[str]:
    table = load_databases([path]).table
    return [f"{message.name}.{signal.name}" for message in table.messages for signal in message.signals]


def test_a_good_file_loads_whole(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    loaded = load_databases([path])
    assert [finding.message for finding in loaded.report] == ["loaded whole: 1 messages, 2 signals"]
    decoded = decode(loaded.table, frames_of([(256, False, bytes.fromhex("040000"))]))
    assert decoded.values_of(0) == {"Speed": 1.0, "Temp": "cold"}
    assert loaded.table.signals[1].unit == "degC"


def test_a_bad_signal_is_set_aside_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("(0.25,0)", "(.25,0)"))
    aside = of_code(lint([path]), "set_aside")
    assert [finding.line for finding in aside] == [4]
    assert "Speed" in aside[0].message
    assert names(path) == ["Engine.Temp"]


def test_a_bad_message_takes_its_signals_along_and_no_other(tmp_path: Path) -> None:
    bad = 'BO_ 257 Bra-kes: 8 ECU\n SG_ Force : 0|8@1+ (1,0) [0|0] "" ECU\nCM_ SG_ 257 Force "gone";\n'
    other = 'BO_ 258 Lights: 8 ECU\n SG_ On : 0|1@1+ (1,0) [0|0] "" ECU\n'
    assert names(written(tmp_path, GOOD + bad + other)) == ["Engine.Speed", "Engine.Temp", "Lights.On"]


def test_signals_without_their_multiplexer_are_not_taken_for_permanent_ones(tmp_path: Path) -> None:
    mux = (
        'BO_ 300 Mux: 8 ECU\n SG_ Which M : 0|8@1* (1,0) [0|0] "" ECU\n'
        ' SG_ One m1 : 8|8@1+ (1,0) [0|0] "" ECU\n SG_ Always : 16|8@1+ (1,0) [0|0] "" ECU\n'
    )
    assert names(written(tmp_path, GOOD + mux)) == ["Engine.Speed", "Engine.Temp", "Mux.Always"]


def test_a_float_whose_type_cannot_be_read_is_not_taken_for_an_integer(tmp_path: Path) -> None:
    real = 'BO_ 300 Real: 8 ECU\n SG_ F : 0|32@1- (1,0) [0|0] "" ECU\nSIG_VALTYPE_ 300 F : one;\n'
    assert names(written(tmp_path, GOOD + real)) == ["Engine.Speed", "Engine.Temp"]


def test_ids_without_their_extended_bit_are_taken_for_extended_and_reported(tmp_path: Path) -> None:
    text = 'BO_ 419361278 Far: 8 ECU\n SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\nVAL_ 419361278 S 1 "one" ;\n'
    path = written(tmp_path, text)
    assert [finding.line for finding in of_code(lint([path]), "extended_bit")] == [1]
    table = load_databases([path]).table
    assert decode(table, frames_of([(419361278, True, b"\1")])).values_of(0) == {"S": "one"}


def test_j1939_by_attribute_matches_by_parameter_group(tmp_path: Path) -> None:
    text = 'BO_ 2364540158 EEC1: 8 ECU\n SG_ S : 24|16@1+ (0.125,0) [0|0] "rpm" ECU\n'
    attribute = (
        'BA_DEF_ "ProtocolType" STRING ;\nBA_DEF_DEF_ "ProtocolType" "";\nBA_ "ProtocolType" "J1939";\n'
    )
    frame = frames_of([(0x18F00421, True, bytes.fromhex("0000001027000000"))])
    plain = load_databases([written(tmp_path, text)]).table
    assert decode(plain, frame).message.tolist() == [-1]
    table = load_databases([written(tmp_path, text + attribute)]).table
    assert decode(table, frame).values_of(0) == {"S": 1250.0}


def test_what_is_wrong_with_a_file_that_loads_is_reported_on_its_line(tmp_path: Path) -> None:
    text = GOOD + (
        'BO_ 256 Twin: 2 ECU\n SG_ A : 0|12@1+ (1,0) [0|0] "" ECU\n SG_ B : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ C : 16|8@1+ (1,0) [0|0] "" ECU\n SG_ C : 24|8@1+ (1,0) [0|0] "" ECU\n'
        'BO_ 2147483904 Engine: 8 ECU\n SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n'
    )
    found = {(finding.code, finding.line) for finding in lint([written(tmp_path, text)])}
    assert found == {
        ("loaded", 1), ("duplicate_id", 7), ("overlap", 9), ("outside_message", 10), ("outside_message", 11),
        ("duplicate_signal", 11), ("duplicate_message", 12), ("same_number", 12),
    }  # fmt: skip


def test_signals_that_exclude_each_other_do_not_overlap(tmp_path: Path) -> None:
    text = (
        'BO_ 1 Mux: 8 ECU\n SG_ M M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ A m1 : 8|8@1+ (1,0) [0|0] "" ECU\n'
        ' SG_ B m2 : 8|8@1+ (1,0) [0|0] "" ECU\n SG_ C m2 : 12|8@1+ (1,0) [0|0] "" ECU\n'
    )
    assert [f.line for f in of_code(lint([written(tmp_path, text)]), "overlap")] == [5]


def test_of_several_files_the_first_has_an_id(tmp_path: Path) -> None:
    first = written(tmp_path, GOOD, "first.dbc")
    second = written(tmp_path, GOOD.replace("Engine", "Motor").replace("0.25", "0.5"), "second.dbc")
    for paths, name in (([first, second], "Engine"), ([second, first], "Motor")):
        loaded = load_databases(paths)
        assert [message.name for message in loaded.table.messages] == [name]
        assert [(f.path, f.code) for f in loaded.report if f.code == "shadowed"] == [(paths[1], "shadowed")]
    assert load_databases([first]).table.hash != load_databases([second]).table.hash


def test_what_several_files_of_one_bus_share_is_reported_too(tmp_path: Path) -> None:
    signal = ' SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n'
    j1939 = 'BA_DEF_ "ProtocolType" STRING ;\nBA_ "ProtocolType" "J1939";\n'
    first = written(
        tmp_path,
        f"BU_: ECU\nBO_ 256 Engine: 8 ECU\n{signal}BO_ 2364540158 EEC1: 8 ECU\n{signal}{j1939}",
        "a.dbc",
    )
    second = written(
        tmp_path,
        f"BU_: ECU\nBO_ 2147483904 Other: 8 ECU\n{signal}BO_ 513 Engine: 8 ECU\n{signal}"
        f"BO_ 2364539904 Engine1: 8 ECU\n{signal}BO_ 256 Motor: 8 ECU\n{signal}{j1939}",
        "b.dbc",
    )
    together = [finding for finding in lint([first, second]) if finding.code != "loaded"]
    assert {(finding.path, finding.line, finding.code) for finding in together} == {
        (second, 2, "same_number"),
        (second, 4, "duplicate_message"),
        (second, 6, "same_pgn"),
        (second, 8, "shadowed"),
    }
    assert all(str(first) in finding.message for finding in together)
    # The other way around it is the other file whose message is not used, and its name is free.
    reversed_order = [finding for finding in lint([second, first]) if finding.code != "loaded"]
    assert {(finding.path, finding.code) for finding in reversed_order} == {
        (second, "same_number"), (first, "same_pgn"), (first, "shadowed"),
    }  # fmt: skip
    table = load_databases([first, second]).table
    frame = frames_of([(0x0CF00455, True, bytes(8))])
    assert decode(table, frame).message_name(0) == "EEC1"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-8 with crlf"])
def test_texts_in_either_encoding(tmp_path: Path, encoding: str) -> None:
    cold = "k\N{LATIN SMALL LETTER U WITH DIAERESIS}hl"
    text = GOOD.replace("degC", "\N{DEGREE SIGN}C").replace("cold", cold)
    if encoding.endswith("crlf"):
        text, encoding = text.replace("\n", "\r\n"), "utf-8"
    signal = load_databases([written(tmp_path, text.encode(encoding))]).table.signals[1]
    assert signal.unit == "\N{DEGREE SIGN}C"
    assert signal.choices[0] == cold


@pytest.mark.parametrize(
    ("addition", "line"),
    [
        ('BO_ 300 Huge: 4294967295 ECU\n SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n', 7),
        ('BO_ 300 Huge: 8 ECU\n SG_ S : 0|99999999999@1+ (1,0) [0|0] "" ECU\n', 8),
        ('BO_ 300 Huge: 8 ECU\n SG_ M M : 0|8@1+ (1,0) [0|0] "" ECU\n SG_ S m0 : 8|8@1+ (1,0) [0|0] "" ECU\n'
         "SG_MUL_VAL_ 300 S M 0-4294967295;\n", 10),
    ],
)  # fmt: skip
def test_what_would_fill_the_memory_is_set_aside(tmp_path: Path, addition: str, line: int) -> None:
    path = written(tmp_path, GOOD + addition)
    assert line in {finding.line for finding in of_code(lint([path]), "set_aside")}
    assert "Engine.Speed" in names(path)
    assert "Huge.S" not in names(path)


def test_nested_multiplexers_are_limited_by_their_product() -> None:
    chain = 'BO_ 1 Deep: 8 E\n SG_ S0 M : 0|8@1+ (1,0) [0|0] "" E\n' + "".join(
        f' SG_ S{n} m0M : {8 * n}|8@1+ (1,0) [0|0] "" E\n' for n in range(1, 5)
    )
    ranges = "".join(f"SG_MUL_VAL_ 1 S{n} S{n - 1} 0-255;\n" for n in range(1, 5))
    assert [statement.line for statement, _ in excesses(split_statements(chain + ranges))] == [1]
    assert list(excesses(split_statements(chain + ranges.replace("255", "9")))) == []


@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.txt", b"", 0, "dbc"),
        ("a.dbc", b"", 1, ""),
        ("a.dbc", b"\x00\xff\n\x80", 1, ""),
        ("a.kcd", b"<a>\n<b>\n</a>", 3, "mismatched"),
        ("a.kcd", b'<x>\n<Signal name="S" offset="0" length="99999999"/></x>', 2, "length"),
        (
            "a.kcd",
            b'<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0"><Document name="n"/>\n'
            b'<Bus name="b"><Message id="0x1" name="Status">\n<Signal offset="0"/></Message></Bus>'
            b"</NetworkDefinition>",
            2,
            "message Status or a signal of it has no name",
        ),
        ("a.sym", b"FormatVersion=6.0\nnonsense", 2, "Invalid syntax"),
        (
            "a.sym",
            b'FormatVersion=6.0\nTitle="t"\n{SEND}\n[M]\nID=22h-200000023h\nLen=8\n',
            5,
            "65536 messages",
        ),
        ("a.sym", b"FormatVersion=6.0\n{SEND}\n[M]\nID = 22h -70000022h // x\nLen=8\n", 4, "65536 messages"),
        ("a.arxml", b"<AUTOSAR>\n</AUTOSAR>", 1, "AUTOSAR"),
    ],
)
def test_a_file_of_which_nothing_loads_says_where_and_why(
    tmp_path: Path, name: str, content: bytes, line: int, reason: str
) -> None:
    path = written(tmp_path, content, name)
    with pytest.raises(DatabaseError) as caught:
        load_databases([path])
    assert caught.value.path == path
    assert caught.value.line == line
    assert reason in caught.value.reason
    assert {finding.code for finding in lint([path])} <= {"not_loaded", "set_aside"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (IndexError("list index out of range"), "a part that it needs is missing or of another kind"),
        (ValueError("invalid literal for int() with base 10: '0x1'"), "'0x1' is no number"),
        (ValueError("could not convert string to float: ''"), "a number is missing"),
        (OverflowError("cannot convert float infinity to integer"), "a number in it is too great"),
        (RecursionError("maximum recursion depth exceeded"), "its parts are nested too deeply"),
        (KeyError("Tab"), "'Tab' is not defined"),
        (ValueError(), "a part that it needs is missing or of another kind"),
        (ValueError("message M or a signal of it has no name"), "message M or a signal of it has no name"),
        (ParseError("Invalid syntax: an argument"), "Invalid syntax: an argument"),
    ],
)
def test_what_a_parser_stumbles_over_is_said_in_words(error: Exception, said: str) -> None:
    assert reason_of(error) == said


@pytest.mark.parametrize("text", ['VERSION "0.1"\n\nNS_ :\n    NS_DESC_\n    CM_\n', 'VERSION ""\n\nNS_ :\n'])
def test_a_file_without_messages_says_so(tmp_path: Path, text: str) -> None:
    (found,) = lint([written(tmp_path, text)])
    assert found.code == "not_loaded"
    assert "there are no messages in it" in found.message


def test_findings_on_messages_of_one_id_stand_on_their_own_lines(tmp_path: Path) -> None:
    signal = ' SG_ S : 0|8@1+ (1,0) [0|0] "" ECU\n'
    text = f"BO_ 291 Engine: 8 ECU\n{signal}BO_ 292 Engine: 8 ECU\n{signal}BO_ 291 Engine: 0 ECU\n{signal}"
    found = [finding for finding in lint([written(tmp_path, text)]) if finding.code != "loaded"]
    assert [(one.code, one.line) for one in found] == [
        ("duplicate_id", 5),
        ("outside_message", 6),
        ("duplicate_message", 3),
        ("duplicate_message", 5),
    ]
    assert "(line 1)" in found[0].message
    assert "line 1" in found[2].message


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="No such file"):
        load_databases([tmp_path / "missing.dbc"])


def test_a_process_of_its_own_loads_the_same_table(tmp_path: Path) -> None:
    paths = [written(tmp_path, GOOD)]
    here, there = load_databases(paths), load_isolated(paths)
    assert there.table == here.table
    assert there.report == here.report
    with pytest.raises(DatabaseError) as caught:
        load_isolated([*paths, tmp_path / "missing.dbc"])
    assert (caught.value.path.name, caught.value.line) == ("missing.dbc", 0)


def test_loading_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="seconds"):
        load_isolated([written(tmp_path, GOOD)], timeout_seconds=0.001)


def test_loading_that_takes_too_much_memory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError):
        load_isolated([written(tmp_path, GOOD)], memory_bytes=4 * 1024 * 1024)


def test_cantools_is_only_imported_where_a_database_is_loaded() -> None:
    code = "import can_stream.databases.isolated, sys; sys.exit('cantools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_loading_imports_no_more_of_cantools_than_its_parsers_and_spoils_none_of_it(tmp_path: Path) -> None:
    code = """
import subprocess
import sys
from pathlib import Path
from can_stream.databases.loading import load_databases
paths = [Path(sys.argv[1])]
first = load_databases(paths).table
assert not {"can", "asyncio"} & set(sys.modules)
import cantools
assert cantools.tester and cantools.database.load_file(paths[0]).messages
assert load_databases(paths).table == first
"""
    subprocess.run([sys.executable, "-c", code, written(tmp_path, GOOD)], check=True)


CUT = """BO_ 1 M: 8 ECU
 SG_ A : 0|32@1- (0.5,0) [0|0] "" ECU
 SG_ S M : 32|8@1+ (1,0) [0|0] "" ECU
 SG_ B m4 : 40|8@1+ (1,0) [0|0] "" ECU
CM_ SG_ 1 A "text";
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 1 20;
VAL_ 1 S 0 "off" 1 "on" ;
SIG_VALTYPE_ 1 A : 1;
SG_MUL_VAL_ 1 B S 4-4, 6-9;
"""


def test_a_file_that_ends_within_a_statement_is_never_loaded_whole(tmp_path: Path) -> None:
    for end in range(CUT.index("CM_"), len(CUT)):
        findings = lint([written(tmp_path, CUT[:end])])
        is_whole = CUT[:end].rstrip().endswith((";", '"" ECU'))
        assert ("loaded whole" in findings[0].message) == is_whole, CUT[:end]
        assert any(finding.severity == Severity.ERROR for finding in findings) != is_whole


def test_a_float_whose_declaration_is_cut_is_not_shown_as_an_integer(tmp_path: Path) -> None:
    path = written(tmp_path, CUT[: CUT.index(" : 1;") + 4])
    assert [signal.name for signal in load_databases([path]).table.signals] == ["S", "B"]
    (aside, _) = of_code(lint([path]), "set_aside")
    assert aside.message.endswith("line 10 may say how to read it")
