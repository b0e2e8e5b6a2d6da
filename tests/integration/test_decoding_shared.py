"""The decoder against values that other decoders give, and every shared database through the loader."""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.decode import kona_work, large_databases, measure, random_work
from can_stream.databases.lint import lint
from can_stream.databases.loading import load_databases
from can_stream.errors import DatabaseError, LogError
from can_stream.frames.batches import FrameFlag
from can_stream.logs.log_reader import open_log
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable, read_table
from can_stream.text.frame_json import rows_of
from tests.helpers.cantools_oracle import (
    compare,
    difference,
    frames_of,
    load_both,
    random_data,
)
from tests.helpers.ratios import assert_ratio
from tests.helpers.shared_data import SHARED_DATA

if TYPE_CHECKING:
    from cantools.database.can import Message

pytestmark = pytest.mark.recorded
# Of all databases together.
RANDOM_PAYLOADS = 1_000_000
VECTORS = sorted((SHARED_DATA / "vectors").glob("*.jsonl.gz"))
INDEX = SHARED_DATA / "dbc_index.csv"
OWN = sorted((Path(__file__).parents[2] / "dbc").glob("*.dbc"))


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        for line in file:
            yield json.loads(line)


@lru_cache(maxsize=1)
def index() -> tuple[dict[str, str], ...]:
    if not INDEX.exists():
        return ()
    with INDEX.open(newline="") as file:
        return tuple(csv.DictReader(file))


def number(value: object) -> float:
    return float(value) if isinstance(value, (int, float, str)) else math.nan


def same(ours: object, theirs: object) -> bool:
    """Equal numbers; integers to the last digit, the vectors' floats to what JSON tells."""
    if isinstance(ours, int) and isinstance(theirs, int):
        return ours == theirs
    mine, other = number(ours), number(theirs)
    return (
        mine == other or (math.isnan(mine) and math.isnan(other)) or math.isclose(mine, other, rel_tol=1e-12)
    )


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def test_every_value_of_the_vectors(path: Path) -> None:
    head, *rows = lines_of(path)
    table = load_databases([SHARED_DATA / head["dbc"]]).table
    batch = frames_of([(row["id"], row["ext"], bytes.fromhex(row["data"])) for row in rows])
    decoded = decode(table, batch)
    for at, row in enumerate(rows):
        values, raws = decoded.values_of(at, choices=False), decoded.raw_of(at)
        for name, value in row["sig"].items():
            assert same(values[name], value["phys"]), (row["msg"], name, row["data"])
            assert same(raws[name], value["raw"]), (row["msg"], name, row["data"])
        undecoded = decoded.undecoded_of(at)
        if "cantools_error" not in row:
            assert (values.keys(), undecoded) == (row["sig"].keys(), []), row
        assert not values.keys() & set(undecoded), row
        signals = table.messages[decoded.message[at]].signals
        if all(signal.selector < 0 for signal in signals):
            # Every signal is there or named.
            assert {signal.name for signal in signals} == {*values, *undecoded}, row


def test_every_expected_value_of_the_recorded_drive() -> None:
    rows = list(lines_of(SHARED_DATA / "expected" / "kona_compcan.jsonl.gz"))
    table = load_databases([SHARED_DATA / "dbc" / "kona-ev-dbc" / "comp_can.dbc"]).table
    batch = frames_of([(row["id"], row["ext"], bytes.fromhex(row["data"])) for row in rows])
    decoded = decode(table, batch)
    assert len(rows) > 20_000
    for row, values in zip(rows, decoded.rows(choices=False), strict=True):
        assert values is not None
        assert row["sig"].items() <= values.items()


@pytest.mark.parametrize("row", index(), ids=lambda row: row["path"])
def test_every_database_loads_or_says_why_and_where(row: dict[str, str]) -> None:
    path = SHARED_DATA / row["path"]
    findings = lint([path])
    codes = {finding.code for finding in findings}
    readable = row["cantools_lenient"] == "ok" or (
        path.suffix.lower() == ".dbc" and "ok" in (row["canmatrix"], row["opendbc_parser"])
    )
    assert ("loaded" in codes) == readable
    assert ("not_loaded" in codes) != readable
    assert all(finding.line >= 1 and finding.message for finding in findings)
    if not readable:
        with pytest.raises(DatabaseError) as caught:
            load_databases([path])
        assert caught.value.line >= 1
        assert caught.value.reason


def test_what_cantools_leaves_out_of_a_database_is_a_finding(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = SHARED_DATA / "dbc" / "cantools" / "tests" / "files" / "arxml" / "ecu-extract-4.2.arxml"
    path = tmp_path / "damaged.arxml"
    path.write_text(whole.read_text().replace("ComSignal/ComBitPosition", "ComSignal/ComBitPlace", 1))
    assert [finding.code for finding in lint([whole])] == ["loaded"]
    loaded, left_out = lint([path])
    assert (loaded.code, left_out.code) == ("loaded", "unsupported")
    assert "in part" in loaded.message
    assert left_out.message == "No bit position found for signal Signal1."
    assert capfd.readouterr() == ("", "")


def test_a_database_loads_in_part_with_nearly_all_messages_of_the_other_decoders() -> None:
    for row in index():
        if row["cantools_lenient"] != "ok" and row["path"].lower().endswith(".dbc"):
            table = load_databases([SHARED_DATA / row["path"]]).table
            assert len(table.messages) >= 0.95 * int(row["opendbc_messages"] or row["canmatrix_frames"])


def loadable() -> list[Path]:
    return [
        SHARED_DATA / row["path"]
        for row in index()
        if row["cantools_lenient"] == "ok" or row["path"].lower().endswith(".dbc")
    ]


def test_random_payloads_of_every_database_give_what_cantools_gives() -> None:
    paths, equal, refused = loadable(), 0, 0
    for path in paths:
        table, database = load_both(path)
        messages = list({(m.frame_id, m.is_extended_frame): m for m in database.messages}.values())
        if not messages:
            continue
        dice = random.Random(path.name)
        chosen = dice.choices(messages, k=RANDOM_PAYLOADS // len(paths))
        result = compare(table, [(message, random_data(message, dice)) for message in chosen])
        assert result[2] == []
        equal, refused = equal + result[0], refused + result[1]
    assert equal > 0.8 * RANDOM_PAYLOADS


@pytest.mark.parametrize("path", loadable(), ids=lambda path: path.name)
def test_tables_survive_serialisation_and_loading_twice_is_the_same(path: Path) -> None:
    first, second = (load_databases([path]).table for _ in range(2))
    assert first.hash == second.hash
    read = read_table(first.to_bytes())
    assert read.hash == first.hash
    assert read.messages == first.messages


@lru_cache(maxsize=1)
def recorded() -> frozenset[tuple[int, bool, bytes]]:
    """Every different data frame of every log: id, whether it is extended, data."""
    frames = set()
    for path in sorted((SHARED_DATA / "logs").rglob("*")):
        with suppress(LogError, IsADirectoryError):
            for batch in open_log(path):
                rows = rows_of(batch.frames)
                frames |= {
                    (row.arbitration_id, bool(row.flags & FrameFlag.EXTENDED), row.data)
                    for row in rows
                    if not row.flags & (FrameFlag.REMOTE | FrameFlag.ERROR)
                }
    return frozenset(frames)


def pgn(arbitration_id: int) -> int:
    """SAE J1939-21: the destination address, in PDU1 formats, is no part of the number."""
    number = arbitration_id >> 8 & 0x3FFFF
    return number if number & 0xFF00 >= 0xF000 else number & 0x3FF00


@pytest.mark.parametrize("path", [*loadable(), *OWN], ids=lambda path: path.name)
def test_recorded_frames_give_what_cantools_gives(path: Path) -> None:
    table, database = load_both(path)
    messages = {(message.frame_id, message.is_extended_frame): message for message in database.messages}
    groups: dict[int, Message] = {}
    for message in database.messages:
        if message.protocol == "j1939" and message.is_extended_frame:
            groups.setdefault(pgn(message.frame_id), messages[message.frame_id, True])
    rows, ids = [], []
    for number, is_extended, data in sorted(recorded()):
        known = messages.get((number, is_extended)) or (groups.get(pgn(number)) if is_extended else None)
        if known is not None:
            rows.append((known, data))
            ids.append(number)
    assert compare(table, rows, ids)[2] == []


@pytest.mark.parametrize(
    ("database", "least"),
    [
        ("kona-ev-dbc/comp_can.dbc", 2_000),
        ("opendbc/opendbc/dbc/cadillac_ct6_object.dbc", 1_900),
        ("opendbc/opendbc/dbc/vw_mlb.dbc", 1_300),
        ("cantools/tests/files/dbc/j1939.dbc", 5),
    ],
)
def test_the_logs_have_frames_that_databases_know(database: str, least: int) -> None:
    """Without these the comparison above would compare nothing."""
    table = load_databases([SHARED_DATA / "dbc" / database]).table
    assert int((decode(table, frames_of(sorted(recorded()))).message >= 0).sum()) >= least


def test_what_does_not_fit_is_named_and_the_rest_is_right() -> None:
    table, database = load_both(SHARED_DATA / "dbc" / "kona-ev-dbc" / "comp_can.dbc")
    for message in database.messages:
        whole = random.Random(message.name).randbytes(message.length)
        for size in range(message.length):
            decoded = decode(table, frames_of([(message.frame_id, False, whole[:size])]))
            partial = message.decode_simple(whole[:size], allow_truncated=True)
            assert difference(decoded.values_of(0), partial) == ""
            named = {signal.name for signal in message.signals}
            assert sorted(decoded.undecoded_of(0)) == sorted(named - set(partial))


def test_the_table_is_small() -> None:
    table = load_databases(
        [SHARED_DATA / "dbc" / "opendbc" / "GENERATED" / "hyundai_can_generated.dbc"]
    ).table
    assert isinstance(table, SignalTable)
    assert len(table.to_bytes()) < 32 * 1024
    assert np.unique(table.layout.signal).tolist() == list(range(len(table.signals)))


FASTER_THAN_CANTOOLS = {"kona": 15, "classic": 10, "fd": 6}


@pytest.mark.speed
def test_batches_of_400_are_decoded_many_times_faster_than_by_cantools() -> None:
    assert_ratio(partial(measure, "kona", kona_work()), FASTER_THAN_CANTOOLS["kona"])
    for path in large_databases():
        work = random_work(path, frames=2_000)
        least = FASTER_THAN_CANTOOLS["fd" if work.is_fd else "classic"]
        assert_ratio(partial(measure, path.name, work), least)
