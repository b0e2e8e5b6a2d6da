"""The thread that keeps a source open and read, and its asyncio side.

Drivers block, so a source is opened, read and closed in one thread of its own. `SourceReader` hands over
what was read in batches, opens again what failed, and says how things stand.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import deque
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from edge_agent.bus.driver_watch import DriverWatch
from edge_agent.bus.frame_queue import FrameQueue, QueueCounts
from edge_agent.bus.source import Aged, Dropped, Item, Patient, Source
from edge_agent.bus.source_news import SourceNews
from edge_agent.errors import SourceEndedError, SourceError
from edge_agent.host.backoff import DEVICE_POLICY, Backoff
from edge_agent.host.clock import Clock
from edge_agent.host.heap import use_python_blocks
from edge_agent.host.nudge import Nudge
from edge_agent.host.pace import Beats, Pace
from edge_agent.state import State, StatusCode
from edge_agent.transmit.writer import Writer

_log = logging.getLogger(__name__)


class ReaderLimits(Struct, frozen=True):
    """`beat_seconds` lies between two reads of a busy bus, where its source does not say how long may;

    `hang_*` is how long a driver may not return. `prompt_*` hold where frames are relayed: a frame may seem
    older than it is by as long as its driver was waited on. `haste_*`: while an echo is awaited.
    """

    queue_frames: int = 100_000
    beat_seconds: float = 0.02
    read_timeout_seconds: float = 0.25
    prompt_beat_seconds: float = 0.005
    prompt_at_once: int = 16
    haste_beat_seconds: float = 0.002
    prompt_timeout_seconds: float = 0.02
    hang_read_seconds: float = 2.5
    hang_open_seconds: float = 30.0


class _End(Struct):
    """Whether nothing comes any more, and the fault of ours that is why."""

    is_reached: bool = False
    fault: BaseException | None = None


class SourceReader:
    """Keeps one source open and read in a thread of its own, and hands its frames to the event loop.

    `open_source` is called in that thread, again after every failure; `on_state` in the event loop, once
    per change. A silent bus is no change. `remark` is added to what is said while the source is read.
    `beats`: how promptly it is read; `driver`: whether its driver returns.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], Source],
        on_state: Callable[[State], None],
        limits: ReaderLimits | None = None,
        clock: Clock | None = None,
        remark: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self._open_source = open_source
        self._limits = limits or ReaderLimits()
        at_once = self._limits.prompt_at_once
        self.beats = Beats(
            Pace(self._limits.prompt_beat_seconds, at_once), Pace(self._limits.haste_beat_seconds, at_once)
        )
        self._clock = clock or Clock()
        self._remark = remark
        self._queue = FrameQueue(self._limits.queue_frames)
        self._stop = threading.Event()
        self._nudge = Nudge(self._clock.monotonic_seconds)
        self._backoff = Backoff(DEVICE_POLICY, random.random)
        self._arrived = asyncio.Event()
        self._end = _End()
        self._closed_malformed = 0
        self._source: Source | None = None
        self._news = SourceNews(State(StatusCode.STARTING, f"opening {name}"), on_state)
        self.driver = DriverWatch(name, self._clock.monotonic_seconds)
        self._jobs: deque[Callable[[Source], None]] = deque()

    @property
    def malformed(self) -> int:
        """Frames the driver gave that are none, over all times the source was opened."""
        source = self._source
        return self._closed_malformed + (0 if source is None else source.malformed)

    @property
    def born_ns(self) -> int:
        """No frame that was given last came before that moment of CLOCK_BOOTTIME; 0: unknown."""
        return self._queue.taken_born_ns

    @property
    def counts(self) -> QueueCounts:
        """What has been read and lost since the start, and what waits to be taken."""
        return self._queue.counts()

    @property
    def writer(self) -> Writer | None:
        """Who writes to the bus as it is open now, another one each time it was opened; None: nobody may."""
        # Asked before each burst: to look whether it keeps a protocol would take longer than the burst.
        writer: Writer | None = getattr(self._source, "writer", None)
        return writer

    def hurry(self, seconds: float) -> None:
        """For so long the bus is read without a beat: somebody waits for what comes. Once more: longer."""
        self._nudge.hurry(seconds)

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    @property
    def state(self) -> State:
        """The state last told."""
        return self._news.state

    def start(self) -> None:
        """Starts reading; to be called once, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"source {self.name}", daemon=True)
        self._tell()
        self._thread.start()
        self._watchdog = self._loop.create_task(self._watch())

    async def read(self) -> list[Item]:
        """What has arrived since the last call, at least one item; [] once the source has ended."""
        while (items := await self.read_within(None)) is None:
            pass
        return items

    async def read_within(self, timeout_seconds: float | None) -> list[Item] | None:
        """As `read`, but None where nothing has arrived, at the latest after `timeout_seconds`.

        Behind the last item a fault of the reader itself is raised: it must not look like an end.
        """
        # A timer, because asyncio's ways to wait for whatever comes first cost a task for each wait.
        timer = None
        if timeout_seconds is not None:
            timer = self._loop.call_later(timeout_seconds, self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._arrived.clear()
        ended = self._end.is_reached
        items = self._queue.take_items()
        if ended:
            self._arrived.set()  # nothing more will wake us
        if self._end.fault is not None and not items:
            raise self._end.fault
        return items if items or ended else None

    def reopen(self, why: SourceError) -> None:
        """Closes the source, where one is open, and opens it again, as if reading it had failed."""

        def fail(_: Source) -> None:
            raise why

        if self._source is not None:
            self._jobs.append(fail)

    def in_source(self, job: Callable[[Source], None], done: Callable[[], None]) -> None:
        """Does something with the open source between two reads, or with the next one before it is read.

        `done` is called in the event loop, where all that was read before waits to be taken by then.
        """

        def work(source: Source) -> None:
            try:
                job(source)
            finally:
                self._call_in_loop(done)
                self._call_in_loop(self._arrived.set)

        self._jobs.append(work)

    def try_now(self) -> None:
        """What has failed is tried again at once: there is a reason to hope."""
        self._nudge.wake()

    async def stop(self) -> None:
        """Stops reading and closes the device; a driver that hangs is left behind after a while."""
        self._stop.set()
        self._nudge.stop()
        patience = self._limits.hang_read_seconds
        await self._loop.run_in_executor(None, self._thread.join, patience)
        self._watchdog.cancel()
        self._finish()

    # In the reading thread.

    def _run(self) -> None:
        use_python_blocks()
        try:
            while not self._stop.is_set():
                self._nudge.wait(self._open_and_read())
            self._set_state(State(StatusCode.STOPPED, f"{self.name} is not read any more"))
        except SourceEndedError as end:
            self._set_state(State(StatusCode.STOPPED, str(end)))
        except BaseException as fault:  # of ours: what drivers raise does not come here
            self._end.fault = fault
        finally:
            self._call_in_loop(self._finish)

    def _open_and_read(self) -> float:
        """Reads until it fails, or until `stop`; returns how long to wait before the next attempt."""
        try:
            with self.driver.entered(self._limits.hang_open_seconds):
                source = self._source = self._open_source()
            self._backoff.connected(self._clock.monotonic_seconds())
            self._set_state(_remarked(State(StatusCode.OK, f"reading {source.info}"), self._remark()))
            try:
                self._read_until_stopped(source)
            finally:
                with self.driver.entered(self._limits.hang_open_seconds):
                    source.close()
                self._source = None
                self._closed_malformed += source.malformed
        except SourceEndedError:
            raise
        except SourceError as error:
            return self._failed(str(error), error.fault)
        except BaseException as error:  # a driver may raise anything, SystemExit too; reading must go on
            _log.exception("the driver of %s failed", self.name)
            return self._failed(
                f"{self.name}: the driver failed: {type(error).__name__}: {error}", "dead_driver"
            )
        return 0.0

    def _read_until_stopped(self, source: Source) -> None:
        limits = self._limits
        patience_seconds = source.patience_seconds if isinstance(source, Patient) else limits.beat_seconds
        aged = source if isinstance(source, Aged) else None
        beats = self.beats
        while not self._stop.is_set():
            while self._jobs:
                self._jobs.popleft()(source)
            timeout_seconds = (
                limits.prompt_timeout_seconds if beats.is_prompt else limits.read_timeout_seconds
            )
            with self.driver.entered(limits.hang_read_seconds):
                read = source.read(timeout_seconds)
            if not len(read):
                continue
            for item in [read] if isinstance(read, FrameBatch) else read:
                self._hand_over(item, source, 0 if aged is None else aged.born_ns)
            self._call_in_loop(self._arrived.set)
            if not source.can_wait:
                # What comes meanwhile waits in the driver: one wake-up for many frames. After silence the
                # first frame has passed at once, since `read` was waiting for it.
                now_seconds = self._clock.monotonic_seconds()
                pause_seconds = beats.pause_seconds(patience_seconds, now_seconds)
                haste_seconds = beats.haste_seconds(now_seconds) if self._nudge.is_in_haste else 0.0
                self._nudge.rest(pause_seconds, haste_seconds)

    def _hand_over(self, item: Item | State, source: Source, born_ns: int) -> None:
        if isinstance(item, State):
            self._set_state(_remarked(item, self._remark()))
            return
        if isinstance(item, Dropped):
            self._queue.put_loss(item)
            return
        if source.can_wait:
            self._queue.put_when_room(item, self._stop, born_ns)
        else:
            self._queue.put(item, born_ns)

    def _failed(self, message: str, fault: str) -> float:
        self._set_state(State(StatusCode.FAILED, message, fault))
        return self._backoff.failed(self._clock.monotonic_seconds())

    def _set_state(self, state: State) -> None:
        self._news.say(state)
        self._call_in_loop(self._tell)

    def _call_in_loop(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stop.set()

    # In the event loop.

    async def _watch(self) -> None:
        try:
            while not self._end.is_reached:
                await asyncio.sleep(self._limits.hang_read_seconds / 5)
                self._tell()
        except Exception as fault:  # nobody would notice any more that the driver hangs
            self._stop.set()
            self._end.is_reached, self._end.fault = True, fault
            self._arrived.set()

    def _tell(self) -> None:
        self._news.tell(self.driver.hang())

    def _finish(self) -> None:
        self._end.is_reached = True
        self._arrived.set()
        self._tell()


def _remarked(state: State, remark: str) -> State:
    return replace(state, message=f"{state.message}; {remark}") if remark else state
