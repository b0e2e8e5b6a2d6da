"""What error frames say of the bus."""

from __future__ import annotations

import pytest

from edge_agent.health.bus_errors import ErrorNews, read_errors
from tests.helpers.error_frames import (
    ACTIVE,
    BUS_OFF,
    CANH_LOOSE,
    LOST_ARBITRATION,
    NO_ACK,
    NO_ACK_SLOT,
    OVERFLOW,
    PASSIVE,
    RESTARTED,
    STUFFING,
    TX_TIMEOUT,
    WARNING,
    Error,
    errors,
)


def news_of(*kinds: Error | None) -> ErrorNews:
    news = read_errors(errors(*kinds))
    assert news is not None
    return news


def test_frames_of_the_bus_are_no_news() -> None:
    assert read_errors(errors(None, None)) is None
    assert read_errors(errors()) is None


def test_every_class_is_counted_and_a_frame_may_be_of_several() -> None:
    news = news_of(
        BUS_OFF,
        RESTARTED,
        OVERFLOW,
        PASSIVE,
        STUFFING,
        NO_ACK,
        TX_TIMEOUT,
        LOST_ARBITRATION,
        CANH_LOOSE,
        None,
    )
    assert news.frames == 9
    assert news.by_class == {
        "bus_off": 1, "restarted": 1, "controller": 2, "counters": 1, "protocol": 1, "bus_error": 1,
        "no_ack": 1, "tx_timeout": 1, "arbitration_lost": 1, "transceiver": 1,
    }  # fmt: skip


def test_an_error_at_the_acknowledge_slot_is_a_missing_acknowledgement_and_no_violation() -> None:
    news = news_of(NO_ACK_SLOT, NO_ACK_SLOT, STUFFING)
    assert (news.by_class["no_ack"], news.violations) == (2, 1)


def test_overflows_are_counted_with_their_places() -> None:
    news = news_of(None, OVERFLOW, None, STUFFING, OVERFLOW, None)
    assert (news.overflows, news.overflow_rows) == (2, (1, 4))


@pytest.mark.parametrize(
    ("kinds", "worst", "last"),
    [
        ((BUS_OFF,), "bus-off", "bus-off"),
        ((BUS_OFF, RESTARTED), "bus-off", "error-active"),
        ((WARNING, PASSIVE, WARNING, STUFFING), "error-passive", "error-warning"),
        ((PASSIVE, ACTIVE), "error-passive", "error-active"),
        ((STUFFING, OVERFLOW, NO_ACK), None, None),
    ],
)
def test_the_worst_and_the_last_state_are_known(
    kinds: tuple[Error, ...], worst: str | None, last: str | None
) -> None:
    news = news_of(*kinds)
    assert (news.worst_state, news.last_state) == (worst, last)


def test_frames_after_a_bus_off_prove_that_it_is_over() -> None:
    assert not news_of(None, BUS_OFF, STUFFING).is_bus_off_over
    assert news_of(BUS_OFF, None).is_bus_off_over


def test_wires_are_named() -> None:
    assert news_of(CANH_LOOSE).wires == "CANH has no contact"
    assert news_of((0x10, "0000000075")).wires == "CANH touches the battery and CANL touches ground"
    assert news_of((0x10, "")).wires == "a wire is at fault"
    assert news_of(STUFFING).wires == ""
