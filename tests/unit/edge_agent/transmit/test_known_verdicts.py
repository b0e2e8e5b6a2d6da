"""Verdicts from memory are those of the policy, whatever was asked before."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, batch_of
from edge_agent.config.transmit import AllowEntry, RelaySection, ReplayRule
from edge_agent.transmit import known_verdicts
from edge_agent.transmit.known_verdicts import FixedVerdicts
from edge_agent.transmit.policy import RelayPolicy, TargetBus
from tests.helpers.strategies import frame_batches

RULES: Final = [ReplayRule(1, "never"), ReplayRule(2, "latest")]
SECTIONS: Final = [
    RelaySection(transmit="all", max_age_seconds=2, policy=RULES),
    RelaySection(
        transmit="allowlist", allow=[AllowEntry("0x3"), AllowEntry("0x100", "0x700")], max_age_seconds=2
    ),
    RelaySection(
        transmit="allowlist",
        allow=[AllowEntry("0x3", data="01 **"), AllowEntry("0x5")],
        max_age_seconds=2,
        policy=RULES,
    ),
    RelaySection(),
]
BUSES: Final = [TargetBus(listen_only=only, fd=fd) for only in (False, True) for fd in (False, True)]
SMALL: Final = st.lists(
    st.tuples(
        st.just(0),
        st.sampled_from([1, 2, 3, 5, 0x105]),
        st.integers(0, 127),
        st.integers(0, 15),
        st.just(bytes([1, 0])),
    ),
    max_size=20,
).map(batch_of)


@given(
    st.sampled_from(SECTIONS),
    st.lists(st.tuples(st.one_of(SMALL, frame_batches(1, 12)), st.sampled_from(BUSES)), max_size=3),
)
def test_they_are_those_of_the_policy(
    section: RelaySection, asked: list[tuple[FrameBatch, TargetBus]]
) -> None:
    policy = RelayPolicy(section)
    fixed = FixedVerdicts(policy.fixed, reads_data=policy.reads_data)
    for frames, bus in asked * 2:
        assert fixed.of(frames, bus) == policy.fixed(frames, bus).tolist()


def test_ids_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_verdicts, "MOST_KNOWN", 8)
    policy = RelayPolicy(SECTIONS[0])
    fixed = FixedVerdicts(policy.fixed, reads_data=policy.reads_data)
    for first in range(0, 100, 5):
        frames = batch_of([(0, first + row % 20, 0, 0, b"") for row in range(30)])
        for _ in range(2):
            assert fixed.of(frames, BUSES[0]) == policy.fixed(frames, BUSES[0]).tolist()
            assert len(fixed._known) <= 8
