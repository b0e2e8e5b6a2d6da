"""The guest's buses carry every kind of frame, each bus its own."""

from __future__ import annotations

import pytest

from tests.vm.can_utils import EVERY_KIND, Candump, send


@pytest.mark.parametrize(("bus", "other"), [("vcan0", "vcan1"), ("vcan1", "vcan0")])
def test_what_is_sent_is_on_this_bus_only(bus: str, other: str) -> None:
    with Candump(bus, len(EVERY_KIND)) as here, Candump(other, 1) as there:
        send(bus, *EVERY_KIND)
        assert [line.split(" ", 2)[1:] for line in here.lines()] == [[bus, frame] for frame in EVERY_KIND]
        send(other, "001#")
        assert [line.split()[2] for line in there.lines()] == ["001#"]
