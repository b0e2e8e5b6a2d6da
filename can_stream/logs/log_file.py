"""The bytes of a log, wherever they come from: a file, standard input, a pipe, compressed or in UTF-16.

Read forward once. Of a pipe what is there is given at once, so that who writes into it slowly is not waited
for.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from can_stream.errors import LogError
from can_stream.logs.forward_bytes import READ_ERRORS
from can_stream.logs.unpacking import PACKED_BYTES, Unpacked, UnpackerMissingError, compression_of

_MAGIC_BYTES: Final = 8
_LEAST_READ_BYTES: Final = 4096
_STANDARD_INPUT: Final = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
# What a program upstream has ready: the first lines together tell more than the very first.
_SETTLING_SECONDS: Final = 0.2
_UTF_16: Final = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_ARCHIVES: Final = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it with unzip, or save the sheet as CSV",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it with 7z x",
    b"Rar!\x1a\x07": "a RAR archive: unpack it with unrar x",
    b"\x04\x22\x4d\x18": "compressed with lz4: unpack it with lz4 -d",
    b"\x1f\x9d": "compressed with compress: unpack it with uncompress",
    b"\x89LZO\0\r\n\x1a": "compressed with lzop: unpack it with lzop -d",
}
_kept_stdin: list[int] = []


def is_standard_input(path: Path) -> bool:
    """Whether `path` stands for standard input."""
    return str(path) in _STANDARD_INPUT


def can_be_read_again(path: Path) -> bool:
    """Whether `path` is a file, or nothing at all, rather than a pipe or another stream that is gone once
    it is read."""
    if is_standard_input(path):
        return False
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode))


def keep_standard_input() -> None:
    """For processes forked from now on, whose own standard input is another."""
    if not _kept_stdin:
        _kept_stdin.append(os.dup(0))


class _Ahead:
    """Bytes of `read`, some of which may be looked at before they are read."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.kept = b""
        self.is_at_end = False
        self._read = read
        self._error: Exception | None = None

    def look(self, wanted: int) -> bytes:
        """The next bytes, at least `wanted` of them unless there are no more that can be read."""
        while len(self.kept) < wanted and not self.is_at_end:
            self.look_further(max(wanted, _LEAST_READ_BYTES))
        return self.kept

    def look_further(self, size: int) -> None:
        """Keep what one read gives."""
        try:
            more = self._read(size)
        except READ_ERRORS as error:  # its turn comes when what is before it has been read
            self._error, more = error, b""
        self.is_at_end = not more
        self.kept += more

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end."""
        if not self.kept and not self.is_at_end:
            self.kept = self._read(size)
        if not self.kept and self._error is not None:
            raise self._error
        given, self.kept = self.kept[:size], self.kept[size:]
        return given


class LogFile:
    """A log that is open: `read` gives its bytes, unpacked and, where it is text, in UTF-8 without a mark.

    `size_bytes`: how large the file on disk is, None where that is not known. Raises OSError where it does
    not open, `LogError` for an archive or a compression that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._file: Final = _opened(path)
        status = os.fstat(self._file.fileno())
        self.is_regular: Final = stat.S_ISREG(status.st_mode)
        self.size_bytes: Final = status.st_size if self.is_regular else None
        self._began_at = self._file.tell() if self.is_regular else 0
        self._bytes_read = self._began_at
        self._unpacked: Unpacked | None = None
        try:
            self._bytes = self._text(self._content())
        except BaseException:
            self._file.close()
            raise

    @property
    def is_plain(self) -> bool:
        """Whether what `read` gives is what stands in a file."""
        return self.is_regular and self._unpacked is None and not is_standard_input(self.path)

    @property
    def bytes_read(self) -> int:
        """How far into the file on disk this is; what came of it may lag behind."""
        return self._bytes_read - (0 if self._unpacked else len(self._bytes.kept))

    @property
    def has_bytes_behind_its_end(self) -> bool:
        """Whether compressed data was followed by what is none, once it is read to its end."""
        return self._unpacked is not None and self._unpacked.left_over

    def head(self, size: int, is_enough: Callable[[bytes], bool]) -> bytes:
        """The first `size` bytes, which `read` gives again; of a pipe only what `is_enough`, and is there."""
        ahead = self._bytes
        if self.is_regular:
            return ahead.look(size)
        while len(ahead.kept) < size and not ahead.is_at_end and not is_enough(ahead.kept):
            ahead.look_further(size)
        deadline = time.monotonic() + _SETTLING_SECONDS
        while len(ahead.kept) < size and not ahead.is_at_end and self._comes_until(deadline):
            ahead.look_further(size)
        return ahead.kept

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end. Raises OSError and `BrokenOffError`."""
        return self._bytes.read(size)

    def as_binary_file(self) -> io.RawIOBase:
        """The same for libraries that want a file; it is read forward only."""
        return _Forward(self.read)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _content(self) -> _Ahead:
        """The file's bytes, unpacked."""
        raw = _Ahead(self._from_disk)
        magic = raw.look(_MAGIC_BYTES)
        for archive, sentence in _ARCHIVES.items():
            if magic.startswith(archive):
                raise LogError(self.path, f"{sentence}, and name the log in it")
        compression = compression_of(magic)
        if compression is None:
            return raw
        try:
            compression.make()
        except UnpackerMissingError as error:
            raise LogError(self.path, str(error)) from None
        again = self._once_more if self.is_regular else None
        unpacked = self._unpacked = Unpacked(compression, raw.read, again)
        content = _Ahead(lambda _: unpacked.read())
        if (inner := compression_of(content.look(_MAGIC_BYTES))) is not None:
            sentence = f"compressed twice ({inner.name} in {compression.name}): unpack it once"
            raise LogError(self.path, f"{sentence}, and name what comes of it")
        return content

    def _text(self, content: _Ahead) -> _Ahead:
        """`content` in UTF-8 without a byte order mark, where it begins with one."""
        mark = content.look(_MAGIC_BYTES)
        if mark.startswith(codecs.BOM_UTF8):
            content.read(len(codecs.BOM_UTF8))
        for bom, encoding in _UTF_16.items():
            if mark.startswith(bom):
                content.read(len(bom))
                return _Ahead(_Recoded(content.read, encoding).read)
        if (found := _utf_16_of(mark[:_MAGIC_BYTES])) is not None:
            return _Ahead(_Recoded(content.read, found).read)
        return content

    def _from_disk(self, size: int) -> bytes:
        while (chunk := self._file.read(size)) is None:  # whoever shares the pipe does not want to wait
            select.select([self._file], [], [])
        self._bytes_read += len(chunk)
        return chunk

    def _once_more(self, offset: int) -> Iterator[bytes]:
        offset += self._began_at
        while chunk := os.pread(self._file.fileno(), PACKED_BYTES, offset):
            offset += len(chunk)
            yield chunk

    def _comes_until(self, deadline_seconds: float) -> bool:
        wait_seconds = max(0.0, deadline_seconds - time.monotonic())
        return bool(select.select([self._file], [], [], wait_seconds)[0])


def _utf_16_of(text: bytes) -> str | None:
    """Which UTF-16 the beginning of a text without a mark is in, where every other byte is zero."""
    for encoding, low, high in (("utf-16-le", text[::2], text[1::2]), ("utf-16-be", text[1::2], text[::2])):
        if len(high) > 1 and not any(high) and all(0x20 <= one < 0x7F or one in b"\t\r\n" for one in low):
            return encoding
    return None


class _Recoded:
    """Text of another encoding as UTF-8; what is no character becomes U+FFFD."""

    def __init__(self, read: Callable[[int], bytes], encoding: str) -> None:
        self._read = read
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._is_at_end = False

    def read(self, size: int) -> bytes:
        """What one read gives, b"" at the end."""
        text = ""
        while not text and not self._is_at_end:
            chunk = self._read(size)
            self._is_at_end = not chunk
            text = self._decoder.decode(chunk, final=self._is_at_end)
        return text.encode()


class _Forward(io.RawIOBase):
    """A file of what `read` gives."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read_some = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed has any buffer
        chunk = self._read_some(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _opened(path: Path) -> io.FileIO:
    if not is_standard_input(path):
        return path.open("rb", buffering=0)
    return io.FileIO(os.dup(_kept_stdin[0] if _kept_stdin else 0), "rb")
