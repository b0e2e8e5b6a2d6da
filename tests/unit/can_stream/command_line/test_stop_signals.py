"""SIGTERM and Ctrl-C both stop what runs; only Ctrl-C is told on."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from can_stream.command_line.stop_signals import StopSignals


def stopped_by(number: signal.Signals) -> StopSignals:
    signals = StopSignals()

    async def runs() -> None:
        stop = asyncio.Event()
        signals.listen(stop.set)
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)

    asyncio.run(runs())
    return signals


def test_ctrl_c_is_told_once_all_is_in_order() -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped_by(signal.SIGINT).end()


def test_sigterm_ends_it_well() -> None:
    stopped_by(signal.SIGTERM).end()
    StopSignals().end()
