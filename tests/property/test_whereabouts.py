"""Whatever sticks say of themselves: texts are harmless, and an id is one adapter's."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.control import decode_agent_control_message, encode_control_message
from edge_agent.config.dongle import DongleSection
from edge_agent.dongles.whereabouts import DiscoveryKind, Whereabouts, discovery
from edge_agent.errors import SourceError
from edge_agent.host.adapter import MAX_TEXT_CHARACTERS, Adapter, clean_text, identified

RAW = st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
NUMBERS = st.sampled_from(["", "A1", "A1-1", "B2"])
PLACES = st.none() | st.sampled_from(["1d50:606f@1-1", "1d50:606f@1-2", "A1"])


@st.composite
def plugged(draw: st.DrawFn) -> list[Adapter]:
    adapters = [
        Adapter(
            draw(st.sampled_from(["socketcan", "slcan"])),
            f"can{number}",
            number,
            frozenset({f"can{number}"}),
            serial_number=draw(NUMBERS),
            port_id=draw(PLACES),
            index=draw(st.integers(0, 2)),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    return identified(adapters)


@given(RAW)
def test_any_descriptor_is_a_printable_line(raw: bytes) -> None:
    text = clean_text(raw)
    assert text.isprintable()
    assert len(text) <= MAX_TEXT_CHARACTERS
    assert text == text.strip() == clean_text(text.encode())
    said = discovery(DiscoveryKind.PLUGGED, Adapter("slcan", "p", 1, frozenset(), device_id=text), None, 1)
    assert decode_agent_control_message(encode_control_message(said)) == said


@given(plugged(), st.sampled_from(["socketcan", "slcan"]), st.sampled_from(["A1", "A1-1", "1d50:606f@1-1"]))
def test_a_device_id_is_one_adapter_or_an_error(
    adapters: list[Adapter], interface: str, device_id: str
) -> None:
    at = Whereabouts(DongleSection(device_id=device_id, interface=interface))
    fitting = [one for one in adapters if one.interface == interface]
    named = [one for one in fitting if device_id in (one.device_id, one.port_id)]
    if len(named) == 1:
        assert at.locate(adapters) == named[0].channel
        return
    with pytest.raises(SourceError) as caught:
        at.locate(adapters)
    assert caught.value.remedy


@given(plugged())
def test_no_two_adapters_get_one_serial_number(adapters: list[Adapter]) -> None:
    by_number = Counter((one.interface, one.device_id) for one in adapters if one.device_id == one.serial_id)
    assert all(count == 1 for (_, device_id), count in by_number.items() if device_id is not None)
