"""The guard around libraries that read logs: whatever they do ends, is named, and is not shown."""

from __future__ import annotations

import gzip
import importlib.util
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import can
import msgspec
import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.formats import mf4_process
from can_stream.logs.formats.foreign import MAX_BLOCK_BYTES, ForeignBlock, ForeignLog
from can_stream.logs.log_blocks import ParsedBlock
from can_stream.logs.log_reader import open_log

DATA: Final = Path(__file__).parents[3] / "data" / "logs" / "mf4"
NEEDS_ASAMMDF: Final = pytest.mark.skipif(
    importlib.util.find_spec("asammdf") is None, reason="needs pip install 'python-can[mf4]'"
)
FRAME: Final = ForeignBlock(
    bytes(8), bytes(4), bytes(1), bytes(1), bytes(8), bytes(2), ["can0"], {"groups of other buses": 2}
)


def said(block: ForeignBlock) -> str:
    """What a process writes that sends this."""
    content = msgspec.msgpack.encode(block)
    return f"sys.stdout.buffer.write({len(content).to_bytes(4, 'little') + content!r}); sys.stdout.flush();"


def blocks_of(code: str, seconds: float = 10, **more: Any) -> list[ParsedBlock]:
    """Of a process that runs this. Every block adds up."""
    program = f"import sys, time; {code}"
    log = ForeignLog(
        io.BytesIO(b"content").read,
        lambda path: [sys.executable, "-c", program, str(path)],
        block_seconds=seconds,
        **more,
    )
    blocks = list(log.blocks())
    for block in blocks:
        assert len(block.batch.frames) + block.unreadable + sum(block.others.values()) == block.items
    return blocks


def test_blocks_come_until_the_last() -> None:
    last = ForeignBlock(faults=["broken"], unreadable=1, is_cut=True, is_last=True)
    first, end = blocks_of(said(FRAME) + said(last) + "time.sleep(100)")
    assert (len(first.batch.frames), first.others, first.is_cut) == (1, {"groups of other buses": 2}, False)
    assert (end.faults[0].reason, end.unreadable, end.is_cut) == ("broken", 1, True)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("time.sleep(100)", "its reader made no progress for 0.5 s and was ended"),
        ("sys.stdout.write('abc'); sys.stdout.flush(); time.sleep(100)", "its reader made no progress"),
        ("while True: print('x' * 1000, file=sys.stderr)", "its reader made no progress"),
        ("pass", "its reader ended before the file did"),
        ("raise ValueError('secret words')", " lines, which are not shown)"),
        ("print('a line of a library')", "its reader went wrong"),
        (
            f"sys.stdout.buffer.write({(MAX_BLOCK_BYTES + 1).to_bytes(4, 'little')!r})",
            "its reader went wrong",
        ),
    ],
)
def test_whatever_goes_wrong_is_one_place_behind_what_came(
    code: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    begin = time.monotonic()
    code = said(FRAME) + code if "while" not in code else f"\n{said(FRAME)}\n{code}"
    first, end = blocks_of(code, seconds=0.5 if "sleep" in code or "while" in code else 10)
    assert time.monotonic() - begin < 10
    assert len(first.batch.frames) == 1
    assert (end.unreadable, end.is_cut, len(end.batch.frames)) == (1, True, 0)
    assert reason in end.faults[0].reason
    assert "secret" not in end.faults[0].reason
    assert capfd.readouterr() == ("", "")


def test_what_is_no_file_is_copied_and_the_copy_goes(tmp_path: Path) -> None:
    check = "assert open(sys.argv[1], 'rb').read() == b'content';"
    (block,) = blocks_of(check + said(ForeignBlock(is_last=True)), directory=tmp_path)
    assert block.unreadable == 0
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    (block,) = blocks_of("pass", directory=tmp_path)
    assert "no room for a copy of the file" in block.faults[0].reason


class Reader:
    """As python-can's MF4Reader: some messages, then what it raises."""

    def __init__(self, messages: list[can.Message], declared: int, *, fails: bool = False) -> None:
        self.messages, self.fails = messages, fails
        frames = SimpleNamespace(name="CAN_DataFrame")
        self._mdf = SimpleNamespace(groups=[self._group(2, declared, frames)] if declared else [])
        self._mdf.groups.append(self._group(0, 7, SimpleNamespace(name="Speed")))
        self._mdf.groups.append(self._group(2, 7, SimpleNamespace(name="LIN_Frame")))

    @staticmethod
    def _group(flags: int, count: int, channel: Any) -> Any:
        return SimpleNamespace(
            channels=[channel], channel_group=SimpleNamespace(flags=flags, cycles_nr=count)
        )

    def __iter__(self) -> Iterator[can.Message]:
        yield from self.messages
        if self.fails:
            raise IndexError("list index out of range")


def sent(monkeypatch: pytest.MonkeyPatch, reader: Reader) -> list[ForeignBlock]:
    monkeypatch.setattr(mf4_process, "reader_of", lambda _: reader)
    blocks: list[ForeignBlock] = []
    mf4_process.read_mf4("x.mf4", blocks.append)
    assert [block.is_last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    return blocks


def test_messages_become_frames_and_bus_1_is_can0(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [
        can.Message(1.5, 0x123, is_extended_id=False, data=b"\1", channel=1),
        can.Message(1.6, 0x800, is_extended_id=False, is_rx=False, channel=2),
        can.Message(1.7, 5, is_fd=True, bitrate_switch=True, data=bytes(64), channel=0),
        can.Message(1.8, 5, is_extended_id=False, is_remote_frame=True, dlc=4),
        can.Message(1.9, 5, is_error_frame=True, channel=3),
        can.Message(float("nan"), 5),
    ]
    books, block = sent(monkeypatch, Reader(messages, 6))
    assert books.others == {"groups of decoded signals": 1, "groups of other buses": 1}
    assert block.names == ["can0", "can1", "can2"]
    assert list(block.flags) == [0, FrameFlag.EXTENDED | FrameFlag.TX, 25, FrameFlag.REMOTE, FrameFlag.ERROR]
    assert list(block.length) == [1, 0, 64, 4, 0]
    assert (block.unreadable, block.faults, block.is_cut) == (1, ["timestamp out of range"], False)


def test_a_reader_that_fails_or_never_ends_keeps_what_it_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [can.Message(1.5, 0x123, channel=1)] * 10
    for reader in (Reader(messages, 20, fails=True), Reader(messages, 20)):
        blocks = sent(monkeypatch, reader)
        assert sum(len(block.length) for block in blocks) == 10
        assert blocks[-1].is_cut
        assert blocks[-1].faults[-1].endswith("it names 20 frames, and 10 are there")
    blocks = sent(monkeypatch, Reader(messages * 1000, 5000))
    assert sum(len(block.length) for block in blocks) == 5000
    (block,) = sent(monkeypatch, Reader([], 0))
    assert block.faults[0].startswith("it holds decoded signals and no CAN frames")


def test_other_versions_and_other_files_are_refused_in_a_sentence() -> None:
    with pytest.raises(LogError, match=r"an MDF file of version 3\.30: save it as version 4"):
        open_log(DATA / "m05_mdf3.mdf")
    with pytest.raises(LogError, match="not an MF4 log"):
        open_log(DATA.parent / "gvret.csv", format="mf4")


@NEEDS_ASAMMDF
@pytest.mark.parametrize(
    ("name", "reason"),
    [("m03_cut.mf4", "the file is cut or damaged"), ("m04_signals_only.mf4", "decoded signals and no CAN")],
)
def test_real_files_of_other_kinds(name: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    reader = open_log(DATA / name)
    assert list(reader) == []
    assert reader.unreadable == 1
    assert reason in reader.problems[0].reason
    assert capfd.readouterr() == ("", "")


def written(path: Path) -> bytes:
    """50 frames at `path`, as python-can writes them."""
    with can.MF4Writer(path) as writer:
        for number in range(50):
            writer(can.Message(1.7e9 + number, number, is_extended_id=False, data=[number], channel=1))
    return path.read_bytes()


def assert_all_are_read(path: Path) -> None:
    reader = open_log(path)
    frames = [batch.frames for batch in reader]
    assert [number for part in frames for number in part.arbitration_id.tolist()] == list(range(50))
    assert (reader.channels, reader.unreadable, reader.items) == (["can0"], 0, 50)


@NEEDS_ASAMMDF
def test_what_python_can_writes_is_read_compressed_too(tmp_path: Path) -> None:
    path = tmp_path / "x.mf4"
    packed = tmp_path / "x.mf4.gz"
    packed.write_bytes(gzip.compress(written(path)))
    for one in (path, packed):
        assert_all_are_read(one)


@NEEDS_ASAMMDF
@pytest.mark.parametrize("magic", [b"UnFinMF ", b"MDF     "])
def test_a_log_that_was_not_finished_is_read_and_left_as_it_is(
    magic: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setenv("TMPDIR", str(copies))
    monkeypatch.setattr("tempfile.tempdir", None)
    path = tmp_path / "x.mf4"
    whole = written(path)
    # How many records there are was not written (id_unfin_flags, bit 0).
    content = magic + whole[8:60] + b"\1\0" + whole[62:]
    path.write_bytes(content)
    assert_all_are_read(path)
    assert path.read_bytes() == content
    assert list(copies.iterdir()) == []


@NEEDS_ASAMMDF
def test_a_library_that_reads_mf4_in_another_way_is_named_and_the_log_is_not_called_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Later:
        def __init__(self) -> None:
            self.opened = True

        def __iter__(self) -> Iterator[can.Message]:
            return iter(())

    monkeypatch.setattr(can, "MF4Reader", Later)
    blocks = list[ForeignBlock]()
    mf4_process.read_mf4("a.mf4", blocks.append)
    (block,) = blocks
    assert block.is_last
    assert block.unreadable == 1
    assert "install can-edge-agent[mf4] anew" in block.faults[0]
    assert "damaged" not in block.faults[0]
