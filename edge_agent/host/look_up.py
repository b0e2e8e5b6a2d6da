"""Looks names up so that it can be given up: a dead name server holds up neither a stop nor another way.

getaddrinfo(3) cannot be interrupted, and asyncio runs it in threads that a program waits for at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, TypeVar

T = TypeVar("T")
Found = list[tuple[Any, ...]]

LOOK_UP_SECONDS: Final = 10.0
# A server that drops one of the two questions delays the answer to both by 5 s and more (resolv.conf(5)).
_ASK_APART_SECONDS: Final = 1.0
# An answer may name addresses of the family that is dead: the other one has so long to come too.
_OTHER_FAMILY_SECONDS: Final = 0.3
# Each may hang for a minute, with three dead name servers and a search domain.
MAX_THREADS: Final = 24
_threads: Final = threading.BoundedSemaphore(MAX_THREADS)


class LookUpLoop(asyncio.SelectorEventLoop):
    """An event loop whose look-ups can be given up."""

    async def getaddrinfo(  # noqa: D102 - as that of any loop
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as the library calls it
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return await look_up(host, port, family=family, type=type, proto=proto, flags=flags)


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, with a loop whose look-ups can be given up."""
    with asyncio.Runner(loop_factory=LookUpLoop) as runner:
        return runner.run(main)


async def look_up(host: Any, port: Any, *, family: int = 0, **options: int) -> Found:
    """As `getaddrinfo`, but within LOOK_UP_SECONDS. socket.gaierror.

    Where the answer takes more than a second, each family is asked for by itself too.
    """
    asked = [_in_thread(partial(socket.getaddrinfo, host, port, family=family, **options))]
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            done, _ = await asyncio.wait(asked, timeout=_ASK_APART_SECONDS)
            if not done and family == socket.AF_UNSPEC:
                asked += [
                    _in_thread(partial(socket.getaddrinfo, host, port, family=apart, **options))
                    for apart in (socket.AF_INET6, socket.AF_INET)
                ]
            return await _first_found(asked)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers") from None
    finally:
        for one in asked:
            one.cancel()
            if not one.cancelled():
                one.exception()  # else asyncio says that nobody has looked at it


async def _first_found(asked: list[asyncio.Future[Found]]) -> Found:
    """What the first finds that finds something, and what others find at the same time."""
    pending: set[asyncio.Future[Found]] = set(asked)
    while pending:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if any(one.done() and one.exception() is None for one in asked):
            if pending and not asked[0].done():
                await asyncio.wait(pending, timeout=_OTHER_FAMILY_SECONDS)
            found = [one.result() for one in asked if one.done() and one.exception() is None]
            return list(dict.fromkeys(address for addresses in found for address in addresses))
    return asked[0].result()


def _in_thread(ask: partial[Any]) -> asyncio.Future[Found]:
    """What it returns, from a thread that nobody waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Found] = loop.create_future()
    if not _threads.acquire(blocking=False):
        future.set_exception(socket.gaierror(socket.EAI_AGAIN, "no name server answers"))
        return future

    def say(found: Found | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found or [])
        else:
            future.set_exception(error)

    def work() -> None:
        found: Found | None = None
        error: Exception | None = None
        try:
            found = ask()
        except Exception as fault:  # for whoever waits
            error = fault
        finally:
            _threads.release()
        with contextlib.suppress(RuntimeError):  # the loop may be closed long since
            loop.call_soon_threadsafe(say, found, error)

    threading.Thread(target=work, daemon=True, name="look-up").start()
    return future
