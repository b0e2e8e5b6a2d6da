"""Database files as text: encodings, caps, and the line that an error speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.databases import reading
from can_stream.databases.encodings import decoded
from can_stream.databases.reading import check_sizes, format_of, line_about, read_text
from can_stream.errors import DatabaseError

PATH = Path("bus.any")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grad °C\n".encode(), "Grad °C\n"),
        ("Grad °C €\n".encode("cp1252"), "Grad °C €\n"),
        (b"\xef\xbb\xbfVERSION", "VERSION"),
        (b"a\r\nb\rc\nd", "a\nb\nc\nd"),
        (b"\x81 is no sign of code page 1252", "\ufffd is no sign of code page 1252"),
    ],
)
def test_a_text_is_utf_8_or_else_of_windows_with_one_kind_of_line_end(content: bytes, text: str) -> None:
    assert decoded(content).text == text


@given(st.binary())
def test_any_bytes_are_some_text(content: bytes) -> None:
    assert "\r" not in decoded(content).text


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"none\.dbc: No such file or directory"):
        read_text(tmp_path / "none.dbc")
    with pytest.raises(DatabaseError, match="Is a directory"):
        read_text(tmp_path)


def test_a_file_may_be_as_large_as_the_cap_and_no_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10)
    path = tmp_path / "bus.dbc"
    path.write_bytes(b"0123456789")
    assert read_text(path).text == "0123456789"
    path.write_bytes(b"0123456789\n")
    with pytest.raises(DatabaseError, match="more than 10 bytes"):
        read_text(path)


@pytest.mark.parametrize(("name", "expected"), [("a.dbc", "dbc"), ("A.KCD", "kcd"), ("x.y.arxml", "arxml")])
def test_the_suffix_names_the_format(name: str, expected: str) -> None:
    assert format_of(Path(name)) == expected


@pytest.mark.parametrize(
    ("name", "shown"), [("a.txt", "'.txt'"), ("dbc", "'nothing'"), (".dbc", "'nothing'")]
)
def test_another_suffix_is_refused_with_those_that_can_be_read(name: str, shown: str) -> None:
    with pytest.raises(DatabaseError, match=f"{shown} are no databases.*dbc, kcd, sym, arxml"):
        format_of(Path(name))


@pytest.mark.parametrize(
    ("database_format", "huge", "fine"),
    [
        ("kcd", '<Signal\n length = "12345"', '<Signal length="1234" name="99999"'),
        ("kcd", "<Signal\n offset='-99999'", "<Signal offset='512'"),
        ("sym", "Sig=a\nunsigned 10000", "Sig=a unsigned 9999"),
        ("sym", "[m]\nLen=12345", "[m]\nLen=64"),
        ("sym", "Var=a\nx ,99999", "Var=a x ,63"),
        ("arxml", "<A>\n<FRAME-LENGTH> 100000", "<FRAME-LENGTH> 64"),
        ("arxml", "<A>\n<BIT-LENGTH>999999", "<BIT-LENGTH>512"),
    ],
)
def test_what_no_frame_has_is_refused_with_its_line(database_format: str, huge: str, fine: str) -> None:
    check_sizes(PATH, database_format, fine)
    with pytest.raises(DatabaseError, match="is more than any frame has") as caught:
        check_sizes(PATH, database_format, "first\n" + huge)
    assert caught.value.line == 3


def test_ids_of_a_sym_file_may_not_be_more_than_a_table_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_MESSAGES", 0x20)
    few = "[a]\nID=100h-110h\n[b]\nID=200h-210h\n"
    check_sizes(PATH, "sym", few)
    with pytest.raises(DatabaseError, match="makes more than 32 messages") as caught:
        check_sizes(PATH, "sym", few + "[c]\nid = 300h-301h\n")
    assert caught.value.line == 6
    check_sizes(PATH, "kcd", few * 9)
    check_sizes(PATH, "sym", "ID=110h-100h\n" * 99)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("syntax error at line 3", 3),
        ("line 99 is bad", 1),
        ("the signal EngineSpeed does not fit in Engine", 3),
        ("the signal ENGINESPEED.", 3),
        ("Standard frame id 0xa00 is more than 11 bits in message Engine.", 2),
        ("The signal EngineSpeed does not fit in message Engine.", 3),
        ("a b c", 1),
        ("", 1),
    ],
)
def test_an_error_is_about_the_line_it_names_or_that_of_its_longest_word(reason: str, line: int) -> None:
    text = "VERSION\nBO_ Engine\nSG_ EngineSpeed\nSG_ EngineSpeed\n"
    assert line_about(text, reason) == line


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_an_error_says_it_is_about_a_line_of_the_file(text: str, reason: str) -> None:
    assert 1 <= line_about(text, reason) <= text.count("\n") + 1
