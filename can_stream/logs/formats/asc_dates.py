"""Dates in the header of Vector ASC logs, in the languages of Windows that CANoe and CANalyzer run on.

`<weekday> <month> <day> <time> [am|pm] <year>`, the names abbreviated in the language of the computer and in
its code page. Abbreviations: Unicode CLDR, and the shorter ones of the C libraries.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from can_stream.errors import LineError
from can_stream.logs.local_dates import local_ns, utc_ns
from can_stream.logs.log_blocks import NS_PER_SECOND

_MONTHS: Final = (
    "jan janv jän ene gen ian sty oca led янв 一月",
    "feb febr fev fév févr fevr lut şub úno фев 二月",
    "mar mär maer mrz märz mars maa mrt márc bře мар 三月",
    "apr abr avr ápr kwi nis dub апр 四月",
    "may mai mag maj mei máj kvě мая май 五月",
    "jun juin giu cze iun jún haz čvn kesä июн 六月",
    "jul juil lug lip iul júl tem čvc heinä июл 七月",
    "aug ago aoû aou août sie ağu srp elo авг 八月",
    "sep sept set szept wrz eyl zář syys сен 九月",
    "oct okt ott out paź eki říj loka окт 十月",
    "nov noi kas marras ноя 十一月",
    "dec dez dic déc des gru ara pro joulu дек 十二月",
)
_MORNING: Final = "am a.m. a.m 上午 午前 오전"
_AFTERNOON: Final = "pm p.m. p.m 下午 午後 오후"
# UTF-8, and the code pages of Windows and of DOS.
_ENCODINGS: Final = (
    "utf-8", "cp1252", "cp1250", "cp1251", "cp1254", "gbk", "big5", "cp932", "cp949",
    "cp850", "cp852", "cp866",
)  # fmt: skip
_TIME: Final = re.compile(rb"(\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,:](\d{1,9}))?")
# With some years of stamps behind them 64 bits hold these as nanoseconds.
_YEAR: Final = re.compile(rb"(?:1[7-9]|2[01])\d\d|22[0-4]\d|225[0-5]")
_DAY: Final = re.compile(rb"(\d{1,2})[.,]?")
# `9` and whatever the code page made of the sign for month behind it.
_NUMBERED_MONTH: Final = re.compile(rb"(\d{1,2})(?:[^0-9A-Za-z:.,/-]*)")
_ISO: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[T ]+(\d\d:\d\d:\d\d(?:[.,]\d{1,9})?) ?(?:(Z)|([+-])(\d\d):?(\d\d))?"
)
# `a. m.` in Spanish, with a blank or one that does not break (UTF-8, code pages).
_SPACED_HALF: Final = re.compile(rb"(?i)\b([ap])\.(?: |\xa0|\xc2\xa0|\xe2\x80\xaf)m\.")
_SHORTEST_NAME: Final = 3
_LONGEST_NAME: Final = 12


def _in_all_encodings(words: str) -> set[bytes]:
    found: set[bytes] = set()
    for word in words.split():
        for form in {word, word.upper(), word.capitalize()}:
            for encoding in _ENCODINGS:
                try:
                    found.add(form.encode(encoding).lower())
                except UnicodeEncodeError:
                    continue
    return found


@cache
def _month_of() -> dict[bytes, int]:
    """Made when the first date is read: most processes read none."""
    return {name: month for month, words in enumerate(_MONTHS, 1) for name in _in_all_encodings(words)}


@cache
def _half_of_day() -> dict[bytes, int]:
    """The hours that each mark adds."""
    return {
        word: hours for words, hours in ((_MORNING, 0), (_AFTERNOON, 12)) for word in _in_all_encodings(words)
    }


def read_date(text: bytes) -> tuple[int, bool]:
    """Nanoseconds UTC since 1970, and whether the date has no zone: then it is this computer's local time.

    Raises `LineError` for what is no date of the years 1700 to 2255.
    """
    iso = _ISO.fullmatch(text.strip())
    if iso is not None:
        return _iso_date(iso)
    half, year, time = None, None, None
    words: list[bytes] = []
    for word in _SPACED_HALF.sub(rb"\1m", text).split():
        if time is None and (match := _TIME.fullmatch(word)):
            time = match
        elif half is None and word.lower() in _half_of_day():
            half = _half_of_day()[word.lower()]
        elif year is None and _YEAR.fullmatch(word):
            year = int(word)
        else:
            words.append(word)
    if time is None or year is None or not 2 <= len(words) <= 3:
        raise LineError("no date")
    month, day = _month_and_day(words[-2], words[-1])
    hour, minute, second = (int(part) for part in time.groups()[:3])
    begin_ns = local_ns(year, month, day, _hour_of_day(hour, half), minute, second)
    return begin_ns + _fraction_ns(time[4]), True


def _iso_date(match: re.Match[bytes]) -> tuple[int, bool]:
    year, month, day, time, utc, sign, hours, minutes = match.groups()
    clock = _TIME.fullmatch(time)
    if clock is None or _YEAR.fullmatch(year) is None:
        raise LineError("no date")
    parts = (int(year), int(month), int(day), int(clock[1]), int(clock[2]), int(clock[3]))
    fraction = _fraction_ns(clock[4])
    if utc is None and sign is None:
        return local_ns(*parts) + fraction, True
    offset = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == b"-" else 1) if sign else 0
    return utc_ns(*parts) - offset * NS_PER_SECOND + fraction, False


def _month_and_day(first: bytes, second: bytes) -> tuple[int, int]:
    """In the order of Vector's tools, or the other way round where the name of the month tells so."""
    for month_text, day_text in ((first, second), (second, first)):
        month, day = _month(month_text), _DAY.fullmatch(day_text)
        if month is not None and day is not None:
            return month, int(day[1])
    raise LineError("no month and day")


def _month(text: bytes) -> int | None:
    numbered = _NUMBERED_MONTH.fullmatch(text)
    if numbered is not None:
        return int(numbered[1])
    name, months = text.lower(), _month_of()
    # Whole names begin with their abbreviations; the longest one that fits decides.
    lengths = range(min(len(name), _LONGEST_NAME), _SHORTEST_NAME - 1, -1)
    return next((months[name[:size]] for size in lengths if name[:size] in months), None)


def _hour_of_day(hour: int, half: int | None) -> int:
    if half is None or (hour > 12 and half == 12):
        return hour
    if hour > 12:
        raise LineError("no hour before noon")
    return hour % 12 + half


def _fraction_ns(digits: bytes | None) -> int:
    return int(digits.ljust(9, b"0")) if digits else 0
