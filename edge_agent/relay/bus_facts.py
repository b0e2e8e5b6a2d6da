"""What a sink is told of its bus when it is asked for frames."""

from __future__ import annotations

from msgspec import Struct

from can_stream.protocol.control import Confirms
from edge_agent.transmit.policy import TargetBus


class BusFacts(Struct, frozen=True):
    """How a bus stands now.

    `confirms`: what tells that a frame was sent. `can_probe`: that the driver's queue is empty is known by
    the echo of one more frame, and by nothing else. `asleep`: no frame of others has been heard for long,
    and `wake` is not set. `disabled`: its `enable_file` does not exist. `gate_closed`: a gate does
    not hold, or cannot be known. `bit_rate`, `data_bit_rate`: in bit/s, None where they are not known.
    """

    target: TargetBus
    confirms: Confirms
    can_probe: bool = False
    asleep: bool = False
    disabled: bool = False
    gate_closed: bool = False
    is_up: bool = True
    bit_rate: int | None = None
    data_bit_rate: int | None = None
