"""Gates are told what is said on their buses; a fault of theirs stops the relay, and not the reading."""

from __future__ import annotations

import logging

import pytest

from can_stream.signals.table import SignalTable
from edge_agent.transmit.gate_watch import GateBus, GateWatch
from tests.unit.edge_agent.transmit.test_gates import SECOND, STANDING, TABLE, said


def test_each_sink_has_its_own_gates_and_databases_are_asked_anew() -> None:
    tables: list[SignalTable | None] = [None]
    bus = GateBus(lambda: tables[-1], lambda: SECOND)
    watch = GateWatch({"gated": [STANDING], "free": []}, {"bus": bus})
    watch.hear("bus", said((0x100, 0)))
    watch.hear("another", said((0x100, 0)))
    assert "not loaded" in watch.closed("gated", SECOND)
    assert watch.closed("free", SECOND) == ""
    tables.append(TABLE)
    watch.hear("bus", said((0x100, 0)))
    assert watch.closed("gated", SECOND) == ""


def test_a_fault_closes_every_gate_for_good(caplog: pytest.LogCaptureFixture) -> None:
    faults = [0]

    def born_ns() -> int:
        return SECOND // faults[0]

    watch = GateWatch({"gated": [STANDING]}, {"bus": GateBus(lambda: TABLE, born_ns)})
    with caplog.at_level(logging.ERROR):
        watch.hear("bus", said((0x100, 0)))
    faults[0] = 1
    watch.hear("bus", said((0x100, 0)))
    assert "a fault of the agent" in watch.closed("gated", SECOND)
    assert "no gate is known" in caplog.text
