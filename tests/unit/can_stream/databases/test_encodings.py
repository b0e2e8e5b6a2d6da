"""Which encoding a database's text is taken for, and what is said where that is in doubt."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.databases.encodings import decoded

CHINESE: Final = ("\u8f66\u901f\u4fe1\u53f7", "\u8f6c\u901f", "\u53d1\u52a8\u673a \u6c34\u6e29", "\u5173")
JAPANESE: Final = (
    "\u901f\u5ea6\u8868",
    "\u30a8\u30f3\u30b8\u30f3\u56de\u8ee2\u6570",
    "\u6a5f\u80fd",
)
RUSSIAN: Final = (
    "\u0421\u043a\u043e\u0440\u043e\u0441\u0442\u044c",
    "\u043d\u0435\u0442",
    "\u0414\u0430",
    "\u0422\u0435\u043c\u043f\u0435\u0440\u0430\u0442\u0443\u0440\u0430 \u0432\u043e\u0434\u044b",
)
WESTERN: Final = (
    *(
        "\xb0C",
        "Gr\xf6\xdfe",
        "\xb5s",
        "m/s\xb2",
        "v\xe9hicule \xe0 l\u2019arr\xeat",
        "Temp. d\u2019huile",
        "\xc7",
    ),
    *(
        "\u201csmart\u201d \u2013 ung\xfcltig",
        "\xd8",
        "\xb1 5 \xb0",
        "Sen\xe3o",
        "Pr\xfcfung n\xf6tig",
        "N\xedvel",
    ),
)
TEXT: Final = 'CM_ SG_ 291 Speed "{}";\nVAL_ 291 Temp 255 "{}" 254 "ok" ;\n'


@pytest.mark.parametrize(
    ("encoding", "word"),
    [
        *(("gbk", word) for word in CHINESE),
        *(("cp932", word) for word in JAPANESE),
        *(("cp1251", word) for word in RUSSIAN),
        *(("cp1252", word) for word in WESTERN),
    ],
)
def test_a_text_is_read_in_the_code_page_that_fits_it(encoding: str, word: str) -> None:
    text = TEXT.format(word, word)
    found = decoded(text.encode(encoding))
    assert found.text == text
    assert found.encoding == encoding
    assert [line for line, _ in found.doubts] == ([] if encoding == "cp1252" else [1]), (
        "so that it can be told"
    )


@pytest.mark.parametrize(
    ("encoding", "sign"), [("gbk", "\u8aa0"), ("cp932", "\u8868"), ("cp932", "\u80fd"), ("gbk", "\u4e57")]
)
def test_a_second_byte_that_looks_like_a_backslash_ends_no_text(encoding: str, sign: str) -> None:
    assert sign.encode(encoding)[1:] == b"\\"
    unit = "\u2103"
    text = f' SG_ T : 0|8@1+ (1,0) [0|0] "{unit}" ECU\n' + TEXT.format(sign, sign)
    assert decoded(text.encode(encoding)).text == text
    assert decoded(text.encode(encoding), encoding).text == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_known_by_its_mark_and_without_one_by_its_zeros(encoding: str) -> None:
    text = 'VERSION ""\nCM_ "Gr\xf6\xdfe \u8f66";\n'
    content = text.replace("\n", "\r\n").encode(encoding)
    found = decoded(content)
    assert (found.text, found.doubts) == (text, ())
    if encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert decoded(content, "gbk").text == text, "a mark goes before what is told"


def test_lines_of_utf_8_among_others_are_each_read_as_what_they_are() -> None:
    text = 'A "\xb0C"\nB "Gr\xf6\xdfe"\nC "\xb5m"\n'
    one, two, three = text.splitlines(keepends=True)
    found = decoded(one.encode("cp1252") + two.encode() + three.encode("cp1252"))
    assert found.text == text
    assert [line for line, _ in found.doubts] == [2]


@pytest.mark.parametrize("content", [b'A\nB "\x81 \x9d"\n', b'A\nB "\xa4\xa6\xa8 \x8d"\n'])
def test_what_fits_no_code_page_is_of_windows_and_in_doubt_on_its_line(content: bytes) -> None:
    found = decoded(content)
    assert found.encoding == "cp1252"
    assert [line for line, _ in found.doubts] == [2]


def test_what_is_told_is_followed_and_what_it_cannot_be_is_in_doubt() -> None:
    assert decoded("\u0434\u0430".encode("cp1251"), "cp1251").text == "\u0434\u0430"
    found = decoded(b"A\nB \xe9\n", "utf-8")
    assert found.text == "A\nB \ufffd\n"
    assert [line for line, _ in found.doubts] == [2]


def test_an_xml_file_says_itself_what_it_is() -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-5"?>\n<a>\u0441\u043a\u043e</a>\n'
    assert decoded(text.encode("iso-8859-5")).text == text


@given(st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda text: text.encode("utf-16"))))
def test_any_bytes_are_some_text_with_doubts_on_its_lines(content: bytes) -> None:
    found = decoded(content)
    assert "\r" not in found.text
    assert all(1 <= line <= found.text.count("\n") + 1 and why for line, why in found.doubts)
