"""The databases of dbc/: cantools, an independent decoder, gives the values worked out by hand; so do we."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from cantools.database import load_file
from cantools.database.can import Database, Message
from cantools.database.namedsignalvalue import NamedSignalValue

from can_stream.databases.loading import load_databases
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from tests.helpers.cantools_oracle import frames_of

ROOT: Final = Path(__file__).resolve().parents[4]
NAMES: Final = ("demo-vehicle", "j1939", "obd2")
SAMPLES: Final[list[tuple[str, dict[str, Any]]]] = [
    (name, json.loads(line))
    for name in NAMES
    for line in (ROOT / "dbc" / f"{name}.samples.jsonl").read_text("utf-8").splitlines()
]
IDS: Final = [f"{name}-{sample['message']}-{sample['data_hex']}" for name, sample in SAMPLES]


@cache
def database(name: str) -> Database:
    loaded = load_file(ROOT / "dbc" / f"{name}.dbc", strict=True)
    assert isinstance(loaded, Database)
    return loaded


@cache
def table(name: str) -> SignalTable:
    return load_databases([ROOT / "dbc" / f"{name}.dbc"]).table


def pgn(arbitration_id: int) -> int:
    """SAE J1939-21: the destination address, in PDU1 formats, is no part of the number."""
    number = arbitration_id >> 8 & 0x3FFFF
    return number if number & 0xFF00 >= 0xF000 else number & 0x3FF00


def message_of(name: str, sample_id: str) -> Message | None:
    """As candump writes ids: three digits are standard, eight are extended."""
    number, extended = int(sample_id, 16), len(sample_id) == 8
    for message in database(name).messages:
        same = (
            pgn(message.frame_id) == pgn(number)
            if message.protocol == "j1939"
            else message.frame_id == number
        )
        if same and message.is_extended_frame == extended:
            return message
    return None


def decoded(message: Message, data: bytes) -> dict[str, Any]:
    values = message.decode(data)
    assert isinstance(values, dict)
    return {
        name: str(value) if isinstance(value, NamedSignalValue) else value for name, value in values.items()
    }


def numbers(signals: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in signals.items() if not isinstance(value, str)}


def states(signals: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in signals.items() if isinstance(value, str)}


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=IDS)
def test_sample_frames_decode_to_the_values_worked_out_by_hand(name: str, sample: dict[str, Any]) -> None:
    message = message_of(name, sample["id"])
    assert message is not None
    assert message.name == sample["message"]
    signals = decoded(message, bytes.fromhex(sample["data_hex"]))
    assert states(signals) == states(sample["signals"])
    assert numbers(signals) == pytest.approx(numbers(sample["signals"]), rel=1e-12)
    assert sample["source"]


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=IDS)
def test_sample_frames_decode_to_the_same_here(name: str, sample: dict[str, Any]) -> None:
    frame = frames_of([(int(sample["id"], 16), len(sample["id"]) == 8, bytes.fromhex(sample["data_hex"]))])
    ours = decode(table(name), frame)
    assert ours.message_name(0) == sample["message"]
    signals = dict(ours.values_of(0))
    assert states(signals) == states(sample["signals"])
    assert numbers(signals) == pytest.approx(numbers(sample["signals"]), rel=1e-12)
    assert ours.undecoded_of(0) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_message_and_signal_has_a_sample(name: str) -> None:
    samples = [sample for owner, sample in SAMPLES if owner == name]
    messages = database(name).messages
    assert {sample["message"] for sample in samples} == {message.name for message in messages}
    assert {signal for sample in samples for signal in sample["signals"]} == {
        signal.name for message in messages for signal in message.signals
    }


@pytest.mark.parametrize("name", NAMES)
def test_databases_are_readable_in_every_encoding_and_tool(name: str) -> None:
    """ASCII reads alike as UTF-8 and as cp1252 (what cantools takes); 32 is the longest name of CANdb++."""
    assert (ROOT / "dbc" / f"{name}.dbc").read_bytes().isascii()
    for message in database(name).messages:
        assert all(len(name) <= 32 for name in (message.name, *(signal.name for signal in message.signals)))


@pytest.mark.parametrize("name", NAMES)
def test_messages_say_who_sends_them_and_where_the_facts_come_from(name: str) -> None:
    nodes = {node.name for node in database(name).nodes}
    text = (ROOT / "dbc" / f"{name}.dbc").read_text("ascii")
    assert 'CM_ "SPDX-License-Identifier: Apache-2.0.' in text
    for message in database(name).messages:
        assert message.comment
        assert "Source: " in message.comment
        assert message.senders
        assert set(message.senders) <= nodes


def test_no_frame_belongs_to_two_databases_and_no_message_name_is_used_twice() -> None:
    messages = [message for name in NAMES for message in database(name).messages]
    assert len({(message.frame_id, message.is_extended_frame) for message in messages}) == len(messages)
    assert len({message.name for message in messages}) == len(messages)


def test_j1939_messages_match_by_parameter_group_and_name_their_spn() -> None:
    messages = database("j1939").messages
    assert len({pgn(message.frame_id) for message in messages}) == len(messages)
    for message in messages:
        assert message.protocol == "j1939"
        assert message.frame_id & 0xFF == 0xFE
        assert message.comment is not None
        assert f"PGN {pgn(message.frame_id)} " in message.comment
        assert all(
            signal.spn and f"SPN {signal.spn} " in (signal.comment or "") for signal in message.signals
        )


def test_j1939_values_of_all_ones_are_not_available() -> None:
    without_such_a_value = {"Dtc1SpnLow", "Dtc1SpnHigh", "Dtc1ConversionMethod"}
    for message in database("j1939").messages:
        for name, value in decoded(message, b"\xff" * 8).items():
            if name == "Dtc1Fmi":
                assert value == "Condition exists"
            elif name.startswith("Flash"):
                assert value == "No flash or not available"
            elif name not in without_such_a_value:
                assert value == "Not available", f"{message.name}.{name}"


def test_the_eight_obd_answers_have_the_same_signals() -> None:
    first, *others = database("obd2").messages

    def layout(message: Message) -> list[tuple[object, ...]]:
        return [
            (
                signal.name, signal.start, signal.length, signal.byte_order, signal.is_signed, signal.scale,
                signal.offset, signal.minimum, signal.maximum, signal.unit, signal.choices,
                signal.multiplexer_signal, signal.multiplexer_ids,
            )
            for signal in message.signals
        ]  # fmt: skip

    assert [message.frame_id for message in others] == [*range(0x7E9, 0x7F0)]
    assert all(layout(message) == layout(first) for message in others)
