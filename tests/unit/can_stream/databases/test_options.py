"""What is said of databases where their files do not say it: protocol, bus, encoding."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Final

import pytest

from can_stream.databases.buses import messages_of_bus
from can_stream.databases.configured import load_configured
from can_stream.databases.findings import Findings
from can_stream.databases.isolated import load_isolated
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases, parse_database
from can_stream.databases.options import DatabaseOptions, is_encoding, options_for
from can_stream.databases.protocols import looks_like_j1939
from can_stream.errors import DatabaseError
from can_stream.signals.evaluate import decode
from can_stream.signals.model import MessageModel
from tests.helpers.cantools_oracle import frames_of

NMEA_2000: Final = (
    'BO_ 2582713086 Heading: 8 A\n SG_ sid : 0|8@1+ (1,0) [0|255] "" A\n'
    ' SG_ heading : 8|16@1+ (0.0001,0) [0|7] "rad" A\n'
)
HEADING: Final = frames_of([(0x09F112CC, True, bytes.fromhex("FF725AFF7FFF7FFD"))])
J1939: Final = 'BA_DEF_ "ProtocolType" STRING ;\nBA_DEF_DEF_ "ProtocolType" "J1939";\n'
TWO_BUSES: Final = Path(__file__).parents[3] / "data" / "databases" / "two_buses.kcd"


def written(directory: Path, text: str, name: str = "n2k.dbc") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_of_each_key_the_first_entry_that_fits_a_file_counts() -> None:
    options = [
        DatabaseOptions("n2k*", protocol="j1939"),
        DatabaseOptions("*.dbc", protocol="can", encoding="gbk"),
        DatabaseOptions("/etc/van/*.dbc", bus="B1"),
        DatabaseOptions("*", bus="B2"),
    ]
    assert options_for(PurePath("/etc/van/n2k-a.dbc"), options) == DatabaseOptions(
        protocol="j1939", bus="B1", encoding="gbk"
    )
    assert options_for(PurePath("body.kcd"), options) == DatabaseOptions(bus="B2")
    assert options_for(PurePath("N2K.DBC"), options[:2]) == DatabaseOptions(), "case differs"


def test_an_entry_says_something_and_names_an_encoding_that_there_is() -> None:
    assert [key for key, _ in DatabaseOptions("*.dbc").problems()] == ["protocol"]
    assert [key for key, _ in DatabaseOptions(encoding="klingon").problems()] == ["encoding"]
    assert list(DatabaseOptions(encoding="Shift-JIS").problems()) == []


@pytest.mark.parametrize("name", ["utf-16", "gbk", "cp1251", "Windows-1252", "big5", "UTF_32"])
def test_encodings_of_texts_are_encodings(name: str) -> None:
    assert is_encoding(name)


@pytest.mark.parametrize(
    "name", ["base64", "rot13", "hex", "idna", "unicode_escape", "x\0y", "", "undefined"]
)
def test_others_are_none(name: str) -> None:
    assert not is_encoding(name)


def test_ids_that_look_like_parameter_groups_are_said_and_matched_as_such_when_told(tmp_path: Path) -> None:
    path = written(tmp_path, NMEA_2000)
    plain = load_databases([path])
    assert [finding.code for finding in plain.report] == ["looks_like_j1939", "loaded"]
    assert decode(plain.table, HEADING).message.tolist() == [-1]
    for said in (DatabaseOptions("n2k*", protocol="j1939"), DatabaseOptions(protocol="j1939")):
        told = load_isolated([path], [said])
        assert [finding.code for finding in told.report] == ["loaded"]
        assert decode(told.table, HEADING).values_of(0) == {"sid": 255, "heading": 0x5A72 * 0.0001}


def test_a_file_that_says_j1939_is_told_otherwise(tmp_path: Path) -> None:
    path = written(tmp_path, NMEA_2000 + J1939)
    assert decode(load_databases([path]).table, HEADING).message.tolist() == [0]
    told = load_databases([path], [DatabaseOptions(protocol="can")])
    assert decode(told.table, HEADING).message.tolist() == [-1]
    assert [finding.code for finding in told.report] == ["loaded"], "it was told"


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([0x0CF004FE], True),
        ([0x18DA00FE], True),
        ([0x18FEF121, 0x0CF00400, 0x18EAFF00], True),
        ([0x18DAF110, 0x18DB33F1], False),
        ([0x18FEF121, 0x1AFEF121], False),
        ([0x18FEF121, 0x7DF], False),
        ([0x10242040, 0x102AA097], False),
    ],
)
def test_which_ids_look_like_parameter_groups(ids: list[int], expected: bool) -> None:
    messages = [MessageModel("M", number, number > 0x7FF, False, 8, ()) for number in ids]
    assert looks_like_j1939(messages) == expected


def test_of_a_file_with_several_buses_one_can_be_chosen(tmp_path: Path) -> None:
    frame = frames_of([(0x123, False, bytes.fromhex("FFFF010203040506"))])
    together = load_databases([TWO_BUSES])
    (said,) = [finding for finding in together.report if finding.code == "several_buses"]
    assert "B1, B2" in said.message
    assert decode(together.table, frame).message_name(0) == "M2"
    first = load_isolated([TWO_BUSES], [DatabaseOptions("two*", bus="B1")])
    assert decode(first.table, frame).values_of(0) == {"Sp": -3.5, "Mx": 1, "A": 2}
    assert {finding.code for finding in first.report} == {"loaded"}
    with pytest.raises(DatabaseError, match="it has no bus 'B3': it describes B1, B2"):
        load_databases([TWO_BUSES], [DatabaseOptions(bus="B3")])
    found = lint([written(tmp_path, NMEA_2000 + J1939)], [DatabaseOptions(bus="B1")])
    assert [finding.code for finding in found] == ["several_buses", "loaded"], "a DBC names no bus"


def test_messages_of_a_bus_are_those_that_name_it() -> None:
    parsed = parse_database(TWO_BUSES, Findings(TWO_BUSES))
    for bus, names in ((None, ["M", "E", "W", "M2"]), ("B2", ["M2"])):
        found = messages_of_bus(TWO_BUSES, parsed.database, bus, Findings(TWO_BUSES))
        assert [message.name for message in found] == names


def test_an_encoding_is_told_and_one_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "greek.dbc"
    text = 'BO_ 1 M: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] "\u03bc\u03b1" A\n'
    path.write_bytes(text.encode("cp1253"))
    loaded = load_databases([path], [DatabaseOptions(encoding="cp1253")])
    assert loaded.table.signals[0].unit == "\u03bc\u03b1"
    with pytest.raises(DatabaseError, match="no encoding is called 'klingon'"):
        load_databases([path], [DatabaseOptions(encoding="klingon")])


def test_options_that_fit_no_file_are_a_problem_of_the_configuration(tmp_path: Path) -> None:
    path = written(tmp_path, NMEA_2000)
    fitting, other = DatabaseOptions("n2k*", protocol="j1939"), DatabaseOptions("n3k*", protocol="j1939")
    found = load_configured([str(path)], [fitting, other])
    assert found.problems == ("database_options are given for n3k*, which none of these databases is called",)
    assert found.table is not None
    assert found.table.messages[0].by_pgn
