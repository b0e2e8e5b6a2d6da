"""Any messages: no frame early, the rate kept, every signal within its limits when it is decoded again."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.databases.checks import overlapping
from can_stream.frames.batches import FrameFlag, concatenate
from can_stream.signals.evaluate import decode
from can_stream.signals.exact import scaled
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.simulation.payloads import SimulatedMessage
from edge_agent.simulation.traffic import Traffic
from edge_agent.simulation.values import Limits, raw_range

SECOND = 10**9
NUMBERS = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.floats(allow_nan=False))
FACTORS = st.one_of(st.sampled_from([1, 0.1, -0.5, 2, 0.0625]), NUMBERS)


@st.composite
def signals(draw: st.DrawFn, name: str) -> SignalModel:
    encoding = draw(st.sampled_from(Encoding))
    length = draw(st.sampled_from([16, 32, 64]) if encoding is Encoding.FLOAT else st.integers(1, 70))
    choices = draw(st.dictionaries(st.integers(-3, 300), st.sampled_from("abc"), max_size=4))
    prefix = draw(st.sampled_from(["S", "Counter"]))
    return SignalModel(
        f"{prefix}{name}", draw(st.integers(0, 100)), length, draw(st.booleans()), encoding,
        draw(st.one_of(st.just(1), FACTORS)), draw(st.one_of(st.just(0), NUMBERS)), "", choices,
    )  # fmt: skip


@st.composite
def messages(draw: st.DrawFn, number: int, most_signals: int) -> SimulatedMessage:
    placed: list[SignalModel] = []
    for at in range(draw(st.integers(0, most_signals))):
        signal = draw(signals(str(at)))
        able = [i for i in range(at) if placed[i].encoding is not Encoding.FLOAT and placed[i].length <= 64]
        selector = draw(st.sampled_from([-1, *able]))
        first = draw(st.integers(-3, 9))
        ranges = ((first, first + draw(st.integers(0, 40))),) if selector >= 0 else ()
        fields = {field: getattr(signal, field) for field in signal.__struct_fields__}
        placed.append(SignalModel(**{**fields, "selector": selector, "ranges": ranges}))
    extended = draw(st.booleans())
    model = MessageModel(
        f"M{number}",
        number,
        extended,
        extended and draw(st.booleans()),
        draw(st.integers(0, 8)),
        tuple(placed),
    )
    ends = st.one_of(st.none(), NUMBERS)
    limits: list[Limits] = [(draw(ends), draw(ends)) for _ in placed]
    return SimulatedMessage(model, draw(st.floats(0.001, 5)), draw(st.booleans()), tuple(limits))


def several(most_signals: int) -> st.SearchStrategy[list[SimulatedMessage]]:
    return st.integers(1, 4).flatmap(
        lambda count: st.tuples(*(messages(number, most_signals) for number in range(count))).map(list)
    )


@given(
    several(2), st.one_of(st.none(), st.floats(1, 2000)), st.integers(), st.lists(st.integers(0, 2 * SECOND))
)
@settings(deadline=None)
def test_no_message_comes_before_its_cycle_is_over_and_none_too_late(
    chosen: list[SimulatedMessage], rate: float | None, seed: int, cuts: list[int]
) -> None:
    traffic = Traffic(chosen, rate, seed)
    frames = concatenate([traffic.before(end) for end in [*sorted(cuts), 2 * SECOND]])
    assert (np.diff(frames.timestamp_ns) >= 0).all()
    assert frames.equals(Traffic(chosen, rate, seed).before(2 * SECOND))
    natural = sum(1 / one.cycle_seconds for one in chosen)
    for one in chosen:
        cycle_ns = one.cycle_seconds * SECOND * (natural / rate if rate else 1)
        is_extended = (frames.flags & FrameFlag.EXTENDED) != 0
        mine = (frames.arbitration_id == one.model.arbitration_id) & (is_extended == one.model.is_extended)
        times = np.concatenate([frames.timestamp_ns[mine], [2 * SECOND]])
        assert times[0] <= cycle_ns + 1
        gaps = np.diff(times)
        assert (gaps[:-1] >= math.floor(cycle_ns)).all()
        assert (gaps <= cycle_ns + 1).all()


@given(several(0), st.floats(200, 5_000))
@settings(deadline=None)
def test_the_rate_is_kept_within_a_hundredth(chosen: list[SimulatedMessage], rate: float) -> None:
    frames = Traffic(chosen, rate).before(10 * SECOND)
    # The message that comes last may be a frame off.
    assert abs(len(frames) - 10 * rate) <= 0.01 * 10 * rate + len(chosen)


def meets_limits(signal: SignalModel, limits: Limits) -> bool:
    """Whether a raw value whose value is within the limits exists, as far as the simulation looks."""
    low, high = raw_range(signal, *limits)
    return within(scaled(signal, low), limits) and within(scaled(signal, high), limits)


def within(value: object, limits: Limits) -> bool:
    assert isinstance(value, int | float)
    return (limits[0] is None or value >= limits[0]) and (limits[1] is None or value <= limits[1])


@given(several(4), st.integers(0, 5))
@settings(deadline=None)
def test_every_signal_that_has_its_place_is_decoded_again_and_within_its_limits(
    chosen: list[SimulatedMessage], seed: int
) -> None:
    frames = Traffic(chosen, rate=100, seed=seed).before(SECOND)
    found = decode(SignalTable([one.model for one in chosen]), frames)
    rows = list(found.rows(choices=False))
    assert len(rows) == len(frames)
    for at, row in enumerate(rows):
        assert row is not None
        one = chosen[int(found.message[at])]
        shared = {signal.name for pair in overlapping(one.model) for signal in pair}
        for signal, limits in zip(one.model.signals, one.limits, strict=True):
            is_integer = signal.encoding is not Encoding.FLOAT and signal.length <= 61
            if is_integer and signal.name in row and signal.name not in shared:
                assert within(row[signal.name], limits) or not meets_limits(signal, limits)
            elif signal.encoding is Encoding.FLOAT and signal.name in row and signal.name not in shared:
                assert not math.isnan(float(row[signal.name])) or not math.isfinite(signal.scale)
