"""How the relay to a dongle stands, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from can_stream.protocol.relay_control import Totals
from edge_agent.relay.account.counted import IdCounts
from edge_agent.relay.account.words import reason_sentence, waits_sentence
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.accounting import grouped

_CONFIRMS: Final = {
    "bus": "on the bus, by its echo",
    "adapter": "taken by the adapter: nothing says that it reached the bus",
    "queue": "taken by the queue: nothing says that it reached the bus",
    "none": "nothing: frames are not relayed to such an adapter",
}


def relay_sentence(one: RelayFigures) -> str:
    """Where frames come from, and what stands in their way."""
    if one.stopped:
        return f"stopped: {one.stopped}"
    if not one.connected:
        return f"no frames can come: {one.message}"
    if one.source_dongle_id is None:
        gate = f"; a gate would refuse: {one.gate}" if one.gate else ""
        return f"connected; no group is active here{gate}"
    if one.waits_for.startswith("loop"):
        return f"stopped for this activation: {one.waits_for}"
    dry = ", a dry run: nothing is sent" if one.dry_run else ""
    if one.gate:
        return f"from {one.source_dongle_id}{dry}, and refused by a gate: {one.gate}"
    waits = f"; frames wait for: {waits_sentence(one.waits_for)}" if one.waits_for else ""
    return f"from {one.source_dongle_id}{dry}{waits}"


def totals_sentence(totals: Totals) -> str:
    """What has become of frames: `120 sent, 1 in doubt, 5 not sent (3 too_old, 2 not_allowed)`."""
    parts = [f"{grouped(totals.sent)} sent"]
    if totals.accepted:
        parts.append(f"{grouped(totals.accepted)} accepted")
    if totals.in_doubt:
        parts.append(f"{grouped(totals.in_doubt)} in doubt")
    if refused := sum(totals.not_sent.values()):
        most = sorted(totals.not_sent.items(), key=lambda item: -item[1])
        parts.append(f"{grouped(refused)} not sent ({', '.join(f'{grouped(n)} {word}' for word, n in most)})")
    return ", ".join(parts)


def relay_lines(one: RelayFigures) -> Iterator[str]:
    """The whole text of one dongle."""
    yield f"{one.dongle_id}: {relay_sentence(one)}"
    yield f"  {totals_sentence(one.totals)}"
    yield f"  what counts as sent: {_CONFIRMS[one.confirms]}"
    if one.latency_ms is not None:
        p50, p99 = one.latency_ms
        yield f"  age at the echo: {p50:.1f} ms (p50), {p99:.1f} ms (p99)"
    for reason in one.totals.not_sent:
        yield f"  {reason_sentence(reason)}"
    yield from _by_id(one.by_id)


def _by_id(rows: Sequence[IdCounts]) -> Iterator[str]:
    if not rows:
        return
    yield "  by id, since the agent's start:"
    for row in rows:
        counts = sorted(row.frames.items(), key=lambda item: -item[1])
        told = ", ".join(f"{grouped(frames)} {fate}" for fate, frames in counts)
        yield f"    {'other ids' if row.id is None else row.id}  {told}"
