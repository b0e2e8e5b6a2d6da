"""The text of a database file: by the mark at its beginning, as UTF-8, or in the code page that fits best."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from msgspec import Struct

DEFAULT: Final = "cp1252"
# The order decides where two read equally well.
CODE_PAGES: Final = (DEFAULT, "gbk", "cp932", "cp1251")
_SHOWN: Final = {"cp1252": "code page 1252", "gbk": "GBK", "cp932": "Shift-JIS", "cp1251": "code page 1251"}
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9_.-]{1,40})["']""")
# So many lines with other letters than those of ASCII are judged.
_MAX_JUDGED_LINES: Final = 2000
_OTHER: Final = re.compile(r"[^\x00-\x7f]+")
_HAS_OTHER: Final = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")

# Signs of units, typographic ones, and letters of the languages of Western Europe.
_WESTERN_SIGNS: Final = frozenset(
    "\u00b0\u00b5\u00b2\u00b3\u00b9\u00b1\u00b7\u00d7\u00f7\u00a7\u00bc\u00bd\u00be\u20ac\u2013\u2014\u2018"
    "\u2019\u201c\u201d\u201e\u201a\u2026\u2122\u00a9\u00ae\u00a3\u00a5\u00bf\u00a1\u00ab\u00bb\u00a0\u00aa\u00ba"
)
_WESTERN_LETTERS: Final = frozenset(
    {chr(code) for code in (*range(0xC0, 0xD0), *range(0xD1, 0xD7), *range(0xD8, 0xDD), *range(0xDF, 0xF0))}
    | {chr(code) for code in (*range(0xF1, 0xF7), *range(0xF8, 0xFE), 0xFF, 0x160, 0x161, 0x17D, 0x17E)}
    | {"\u0152", "\u0153"}
)
_CYRILLIC: Final = re.compile(
    "[\u0410-\u042f\u0401\u0406\u0407\u0404\u0490]*[\u0430-\u044f\u0451\u0456\u0457\u0454\u0491]+"
    "|[\u0410-\u042f\u0401\u0406\u0407\u0404\u0490]+"
)
_CYRILLIC_SIGNS: Final = frozenset(
    "\u00b0\u2116\u00ab\u00bb\u2013\u2014\u201c\u201d\u201e\u00b1\u00b7\u00a7\u00b5\u00a0\u2026\u20ac"
)
# Degrees, ohm, micro, punctuation and the wide forms of ASCII, as the code pages of the Far East have them.
_WIDE_SIGNS: Final = re.compile(
    "[\u2103\u2109\u03a9\u00b0\u03bc\u00b1\u00d7\u00f7\u2018\u2019\u201c\u201d\u2026\u2014\u00b7\u2190-\u2193"
    "\u2121\u2160-\u216b\u2460-\u2473\u3000-\u301e\u30fb\u30fc\u338e\u338f\u339c\u339e\uff01-\uff5e]"
)


class Text(Struct, frozen=True):
    """`text` with one kind of line end, taken for `encoding`; `doubts`: (line, what may not be right)."""

    text: str
    encoding: str
    doubts: tuple[tuple[int, str], ...] = ()


def decoded(content: bytes, encoding: str | None = None) -> Text:
    """The text of a file. `encoding`: as it is told to be; a mark at the beginning goes before that."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return _strictly_or_marked(content[len(mark) :], name)
    if encoding is not None:
        return _strictly_or_marked(content, encoding)
    if (unmarked := _utf_16_without_mark(content)) is not None:
        return _strictly_or_marked(content, unmarked)
    try:
        return Text(_one_line_end(content.decode("utf-8")), "utf-8")
    except UnicodeDecodeError:
        return _in_code_page(content)


def _strictly_or_marked(content: bytes, encoding: str) -> Text:
    try:
        return Text(_one_line_end(content.decode(encoding)), encoding)
    except UnicodeDecodeError:
        text = _one_line_end(content.decode(encoding, "replace"))
        return Text(text, encoding, ((_line(text, text.find("\ufffd")), f"no text in {_name(encoding)}"),))


def _utf_16_without_mark(content: bytes) -> str | None:
    """Text of which every second byte is 0."""
    begin = content[:400]
    half = len(begin) // 2
    if half < 2:
        return None
    for name, zeros, others in (
        ("utf-16-le", begin[1::2], begin[::2]),
        ("utf-16-be", begin[::2], begin[1::2]),
    ):
        if zeros.count(0) > 0.8 * half and others.count(0) < 0.1 * half:
            return name
    return None


def _in_code_page(content: bytes) -> Text:
    found = _DECLARED.match(content)
    declared = found[1].decode() if found else ""
    if declared and declared.lower().replace("_", "-") not in ("utf-8", "utf8"):
        try:
            return Text(_one_line_end(content.decode(declared)), declared)
        except (LookupError, UnicodeDecodeError):
            pass
    if (mixed := _mixed(content)) is not None:
        return mixed
    judged = islice(_HAS_OTHER.finditer(content), _MAX_JUDGED_LINES)
    lines = [line.group() for line in judged]
    scores = {name: _score(lines, name) for name in CODE_PAGES}
    best = max(CODE_PAGES, key=lambda name: scores[name])
    if scores[best] <= 0:
        best = DEFAULT
    text = _one_line_end(content.decode(best, "replace"))
    if best == DEFAULT:
        doubt = _first_doubt(text)
        return Text(text, best, () if doubt is None else (doubt,))
    first = _OTHER.search(text)
    said = f"not UTF-8, and read as {_name(best)}, which fits best"
    return Text(text, best, ((_line(text, first.start() if first else 0), said),))


def _score(lines: list[bytes], encoding: str) -> float:
    """How well lines read in a code page: 1 or 2 for each likely character, less than 0 for others."""
    total = 0.0
    for line in lines:
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError:
            return (
                -1.0
                if encoding != DEFAULT
                else _score_of_page(line.decode(encoding, "replace"), encoding) - 1
            )
        total += _score_of_page(text, encoding)
    return total


def _score_of_page(text: str, encoding: str) -> float:
    if encoding == DEFAULT:
        return sum(1.0 if is_likely else -1.5 * len(run) for run, is_likely in _western_runs(text))
    if encoding == "cp1251":
        return sum(_cyrillic(text, found) for found in _OTHER.finditer(text))
    return sum(_wide(text, found, encoding) for found in _OTHER.finditer(text))


def _wide(text: str, found: re.Match[str], encoding: str) -> float:
    """The score of a run of characters of two bytes."""
    run = found.group()
    judge = _chinese if encoding == "gbk" else _japanese
    last = run[-1].encode(encoding, "replace")
    if len(last) == 2 and last[1:].isalpha() and text[found.start() - 1 : found.start()].isalpha():
        # A letter of the word around it was taken for the second byte.
        return -2.0
    explained = 1.0 if last[1:] == b"\\" and text[found.end() : found.end() + 1] == '"' else 0.0
    return sum(map(judge, run)) * (0.5 if len(run) == 1 else 1.0) + explained


def _western_runs(text: str) -> list[tuple[str, bool]]:
    """Runs of characters beyond ASCII, and whether each is likely in a language of Western Europe."""
    return [(found.group(), _is_western(text, found)) for found in _OTHER.finditer(text)]


def _is_western(text: str, found: re.Match[str]) -> bool:
    run = found.group()
    letters = sum(sign in _WESTERN_LETTERS for sign in run)
    if letters + sum(sign in _WESTERN_SIGNS for sign in run) < len(run) or letters > 2 or len(run) > 3:
        return False
    before, behind = text[max(found.start() - 1, 0) : found.start()], text[found.end() : found.end() + 1]
    # The second byte of a character of two may be a backslash; a sign and a letter are what UTF-8 looks like.
    if not letters or behind == "\\":
        return not letters
    return letters == len(run) and (letters == 1 or before.isalpha() or behind.isalpha())


def _cyrillic(text: str, found: re.Match[str]) -> float:
    run = found.group()
    if len(run) == 1 and run.isalpha() and text[max(found.start() - 1, 0) : found.end() + 1].isalpha():
        # Within a word of Latin letters.
        return -2.0
    words = _CYRILLIC.findall(run)
    signs = sum(sign in _CYRILLIC_SIGNS for sign in run)
    likely = sum(len(word) for word in words if len(word) > 1)
    strange = len(run) - signs - sum(map(len, words)) + max(len(words) - 1 - signs, 0)
    return likely + 0.5 * signs - 2.0 * strange - (sum(map(len, words)) - likely)


def _chinese(sign: str) -> float:
    if _WIDE_SIGNS.match(sign):
        return 1.0
    try:
        two = sign.encode("gb2312")
    except UnicodeEncodeError:
        return -0.2
    # The characters in use come first; the second part of the set is of rare ones.
    return 2.0 if 0xB0 <= two[0] <= 0xD7 else 0.2 if two[0] > 0xD7 else -0.5


def _japanese(sign: str) -> float:
    if "\u3040" <= sign <= "\u30ff" or _WIDE_SIGNS.match(sign):
        return 2.0
    if "\uff61" <= sign <= "\uff9f":
        return -0.3
    two = sign.encode("cp932", "ignore")
    # As in GBK: kanji in use first.
    return 2.0 if len(two) == 2 and b"\x88\x9f" <= two <= b"\x98\x72" else -0.5


def _mixed(content: bytes) -> Text | None:
    """Lines of UTF-8 among lines of code page 1252, which editors of two kinds leave behind."""
    texts, first = [], 0
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            text = line.decode("utf-8")
            first = first or (0 if line.isascii() else number)
        except UnicodeDecodeError:
            text = line.decode(DEFAULT, "replace")
        if not text.isascii() and not all(is_likely for _, is_likely in _western_runs(text)):
            return None
        texts.append(text)
    if not first:
        return None
    said = "UTF-8, while other lines are of code page 1252: each is read as what it is"
    return Text(_one_line_end("\n".join(texts)), DEFAULT, ((first, said),))


def _first_doubt(text: str) -> tuple[int, str] | None:
    for found in _OTHER.finditer(text):
        if not _is_western(text, found):
            shown = found.group()[:8].replace("\ufffd", "?")
            return _line(text, found.start()), f"not UTF-8, and {shown!r} is unlikely in {_name(DEFAULT)}"
    return None


def _name(encoding: str) -> str:
    return _SHOWN.get(encoding, encoding.upper())


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, max(at, 0)) + 1


def _one_line_end(text: str) -> str:
    """Also without the byte order marks that stand where files were joined."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
