"""The command `edge-agent` with a fault in one of its parts: `python faulty_agent.py PART TRIGGER run ...`.

PART is `module:Class.method`, which raises once the file TRIGGER is there. With `+held` behind it a thread of
the event loop's own hangs by then, as on a dead disk.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


class InjectedFaultError(Exception):
    """Nothing that any part expects."""


def break_part(part: str, trigger: Path) -> None:
    """Has it raise from the trigger on."""
    path, _, held = part.partition("+")
    module, _, name = path.partition(":")
    owner, _, method = name.rpartition(".")
    holder = getattr(importlib.import_module(module), owner)
    original = getattr(holder, method)

    def check() -> None:
        if trigger.exists():
            if held:
                asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
            raise InjectedFaultError(f"injected into {method}")

    setattr(holder, method, (_later if inspect.iscoroutinefunction(original) else _now)(original, check))


def _now(original: Callable[..., Any], check: Callable[[], None]) -> Callable[..., Any]:
    def broken(*arguments: Any) -> Any:
        check()
        return original(*arguments)

    return broken


def _later(
    original: Callable[..., Coroutine[Any, Any, Any]], check: Callable[[], None]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def broken(*arguments: Any) -> Any:
        task = asyncio.create_task(original(*arguments))
        try:
            while not (await asyncio.wait([task], timeout=0.05))[0]:
                check()
            return task.result()
        finally:
            task.cancel()

    return broken


if __name__ == "__main__":
    break_part(sys.argv[1], Path(sys.argv[2]))
    del sys.argv[1:3]
    from edge_agent.start import main

    main()
