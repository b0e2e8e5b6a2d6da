"""Dates of CANoe's header in the languages and code pages of Windows."""

from __future__ import annotations

from datetime import date, datetime
from datetime import time as clock

import pytest

from can_stream.errors import LineError
from can_stream.logs.formats.asc_dates import read_date

S = 1_000_000_000


def local_ns(parts: tuple[int, ...], milliseconds: int = 0) -> int:
    year, month, day, hour, minute, second = parts
    moment = datetime.combine(date(year, month, day), clock(hour, minute, second))
    return int(moment.timestamp()) * S + milliseconds * 1_000_000


@pytest.mark.parametrize(
    ("text", "encodings", "parts"),
    [
        ("Wed Apr 16 09:21:13 am 2014", "utf-8", (2014, 4, 16, 9, 21, 13)),
        ("Wed Apr 16 09:21:13 PM 2014", "utf-8", (2014, 4, 16, 21, 21, 13)),
        ("Wed Apr 16 12:00:00 am 2014", "utf-8", (2014, 4, 16, 0, 0, 0)),
        ("Wed Apr 16 12:00:00 pm 2014", "utf-8", (2014, 4, 16, 12, 0, 0)),
        ("Wed Apr 16 15:00:00 pm 2014", "utf-8", (2014, 4, 16, 15, 0, 0)),
        ("Wed Apr 16 15:00:00 2014", "utf-8", (2014, 4, 16, 15, 0, 0)),
        ("September 5 15:00:00 2014", "utf-8", (2014, 9, 5, 15, 0, 0)),
        ("Do Mär 5 14:37:49 2020", "utf-8 cp1252 cp850", (2020, 3, 5, 14, 37, 49)),
        ("Do Mrz 5 14:37:49 2020", "utf-8", (2020, 3, 5, 14, 37, 49)),
        ("Mit Mai 5 14:37:49 2021", "utf-8", (2021, 5, 5, 14, 37, 49)),
        ("Fr Okt 1 14:37:49 2021", "utf-8", (2021, 10, 1, 14, 37, 49)),
        ("Don Dez 2 14:37:49 2021", "utf-8", (2021, 12, 2, 14, 37, 49)),
        ("jeu. févr. 4 14:37:49 2021", "utf-8 cp1252", (2021, 2, 4, 14, 37, 49)),
        ("mar. août 3 14:37:49 2021", "utf-8 cp1252", (2021, 8, 3, 14, 37, 49)),
        ("jeu. juil. 1 14:37:49 2021", "utf-8", (2021, 7, 1, 14, 37, 49)),
        ("gio lug 1 14:37:49 2021", "utf-8", (2021, 7, 1, 14, 37, 49)),
        ("mar ene 5 02:37:49 p.m. 2021", "utf-8", (2021, 1, 5, 14, 37, 49)),
        ("mar ene 5 02:37:49 p. m. 2021", "utf-8", (2021, 1, 5, 14, 37, 49)),
        ("mar ene 5 02:37:49 p.\u00a0m. 2021", "utf-8 cp1252", (2021, 1, 5, 14, 37, 49)),
        ("mar ene 5 02:37:49 a.\u202fm. 2021", "utf-8", (2021, 1, 5, 2, 37, 49)),
        ("qui set 2 14:37:49 2021", "utf-8", (2021, 9, 2, 14, 37, 49)),
        ("周四 9月 2 02:37:49 下午 2021", "utf-8 gbk", (2021, 9, 2, 14, 37, 49)),
        ("週四 九月 2 02:37:49 下午 2021", "utf-8 big5", (2021, 9, 2, 14, 37, 49)),
        ("木 9月 2 午後 02:37:49 2021", "utf-8 cp932", (2021, 9, 2, 14, 37, 49)),
        ("목 9월 2 02:37:49 오후 2021", "utf-8 cp949", (2021, 9, 2, 14, 37, 49)),
        ("чт дек 2 14:37:49 2021", "utf-8 cp1251", (2021, 12, 2, 14, 37, 49)),
        ("Thu 2 Sep 14:37:49 2021", "utf-8", (2021, 9, 2, 14, 37, 49)),
        ("Thu Sep 2 14:37:49 1700", "utf-8", (1700, 9, 2, 14, 37, 49)),
        ("Thu Sep 2 14:37:49 2255", "utf-8", (2255, 9, 2, 14, 37, 49)),
        ("2021-09-02 14:37:49", "utf-8", (2021, 9, 2, 14, 37, 49)),
    ],
)
def test_languages_and_code_pages(text: str, encodings: str, parts: tuple[int, ...]) -> None:
    for encoding in encodings.split():
        assert read_date(text.encode(encoding)) == (local_ns(parts), True)
        if ":49" in text:
            assert read_date(text.replace(":49", ":49.250").encode(encoding)) == (local_ns(parts, 250), True)


def test_a_date_with_a_zone_is_not_local() -> None:
    assert read_date(b"2021-09-02T14:37:49.5Z") == (1630593469_500_000_000, False)
    assert read_date(b"2021-09-02T14:37:49+02:00") == (1630586269_000_000_000, False)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"Thu Sep 2 2021", b"Thu Sep 2 14:37:49", b"Thu Foo 2 14:37:49 2021",
        b"Thu Sep 31 14:37:49 2021",
        b"Thu Sep 2 25:37:49 2021", b"Thu Sep 2 14:37:49 am 2021", b"Thu 13 2 14:37:49 2021",
        b"Thu Sep 2 14:37:49 1021", b"Thu Sep 2 14:37:49 2256", b"Sep 14:37:49 2021", b"1021-01-01T00:00:00Z",
        b"Thu M?r 2 14:37:49 2021", b"a b c d 14:37:49 2021", b"\xff\xfe\x00", b"2021-09-02T14:77:49Z",
    ],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: bytes) -> None:
    with pytest.raises(LineError):
        read_date(text)
