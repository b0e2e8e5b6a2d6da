"""slcan: a serial CAN adapter as a source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag, empty_batch
from edge_agent.bus.slcan_codec import Parsed, SlcanParser
from edge_agent.bus.slcan_flags import LOSSES, AdapterFlag, trouble, trouble_of_state
from edge_agent.bus.slcan_lines import Reply, ReplyKind
from edge_agent.bus.slcan_port import SlcanPort
from edge_agent.bus.slcan_words import Unread, form_text
from edge_agent.bus.source import Dropped, Item, LinesBorn
from edge_agent.config.bit_rates import BITRATE_COMMANDS, DATA_BITRATE_COMMANDS
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode

if TYPE_CHECKING:
    from edge_agent.transmit.slcan_writer import SlcanWriter

_PATIENCE_SECONDS: Final = 0.2
# For an adapter that has left a command unanswered.
_MUTE_PATIENCE_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 0.02
# Some restart when their port is opened, and hear nothing meanwhile (Arduino: up to 2 s).
_RESTART_SECONDS: Final = 2.0
_STATUS_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 1.0
_MAX_UNANSWERED: Final = 3
# Also of noise.
_PROVE_NOTHING: Final = frozenset({ReplyKind.DONE, ReplyKind.REFUSED, ReplyKind.SENT})
# One whose words make no sense may be another one by now.
_GARBAGE_SECONDS: Final = 10.0

# CR or BELL in a line of its own; the same, or a line with something in it.
_ACKNOWLEDGEMENT: Final = re.compile(rb"(?<![^\r\n\a])[\r\a]")
_LINE_ENDS: Final = (b"\r", b"\n", b"\a")
# What is said to `V` and `N`: a line that begins so, for frames may come meanwhile.
_SENTENCES: Final = {
    command: re.compile(
        rb"(?<![^\r\n\a])" + command.encode() + rb"([ -~]{1,64})[\r\n]|" + _ACKNOWLEDGEMENT.pattern
    )
    for command in ("V", "N")
}


class _Step(Struct, frozen=True):
    """A command of the set-up, and what it means when the adapter refuses it; None: nothing."""

    command: str
    refusal: SourceError | None


class SlcanBus:
    """An opened slcan adapter. The constructor opens the port, sets the adapter up and raises SourceError.

    Frames have the time at which they were read, or that of the adapter where it sends one in milliseconds
    (which `options.timestamps` asks for), brought to the wall clock by `TimestampMapper`. An adapter that
    answers `F` is asked every 3 s; what it says of lost frames stands as `Dropped` of an unknown count where
    it was said. One that has answered and does not any more is dead. `answered`: the channels whose adapters
    have answered, kept for the next time they are opened.
    """

    can_wait = False

    def __init__(
        self, dongle: DongleSection, clock: Clock | None = None, answered: set[str] | None = None
    ) -> None:
        self._dongle = dongle
        self._options = dongle.slcan_options()
        self._clock = clock or Clock()
        self._unread = Unread(self._clock.monotonic_seconds())
        self._version = self._serial_number = ""
        self._trouble: tuple[str, str] | None = None
        self._unanswered = 0
        self._answers_status = False
        self._lines_born = LinesBorn()
        self._answered = set() if answered is None else answered
        self._port = self._opened_port()
        self._writer = self._new_writer() if dongle.mode == "normal" else None
        try:
            self._set_up()
            if self._is_mute and dongle.channel in self._answered:
                self._clock.sleep(_RESTART_SECONDS)
                self._set_up()
                if self._is_mute:
                    raise self._dead()
        except BaseException:
            self._port.close()
            raise
        now_seconds = self._clock.monotonic_seconds()
        self._again_at_seconds = now_seconds + _RESTART_SECONDS if self._is_mute else None

    @property
    def info(self) -> str:
        """The port, what the adapter says of itself, and where its settings are not certain."""
        text = f"slcan {self._dongle.channel}"
        if self._version:
            text += f", version {self._version}"
        if self._serial_number:
            text += f", serial number {self._serial_number}"
        if self._is_mute:
            text += ", which acknowledges nothing"
            if self._dongle.mode == "listen_only":
                text += " (without any frames: it may not know how to listen only)"
        text += self._form_text()
        if self._dongle.bitrate in (750_000, 800_000):
            text += "; S7 is 800 kbit/s with Lawicel, 750 kbit/s with CANable: check which the adapter is"
        return text

    @property
    def writer(self) -> SlcanWriter | None:
        """Who writes to the adapter; None where the dongle only listens."""
        return self._writer

    @property
    def malformed(self) -> int:
        """Lines that are no frame and no reply: what noise has hit, and impossible frames."""
        return self._unread.lines

    @property
    def malformed_example(self) -> str:
        """The newest of them, "" where there is none."""
        return self._unread.example

    @property
    def born_ns(self) -> int:
        """See `Aged`."""
        return self._lines_born.born_ns

    def read(self, timeout_seconds: float) -> list[Item | State]:
        """What has arrived: waits for the first of it only. Raises SourceError."""
        items: list[Item | State] = []
        now_seconds = self._clock.monotonic_seconds()
        if self._again_at_seconds is not None and now_seconds >= self._again_at_seconds:
            self._again_at_seconds = None
            # What noise seems to refuse is no refusal; that the port is gone is found by reading too.
            with suppress(SourceError) if self._unread.fault == "garbage" else nullcontext():
                self._set_up()
            items.append(self._state())
        self._ask_status(now_seconds)
        received = self._port.read(timeout_seconds)
        if not received:
            return items + self._back((), empty_batch()) + self._changes(now_seconds)
        if self._answers_status:
            self._unanswered = 0
        if self._unread.fault != "garbage":
            self._again_at_seconds = None
        now_ns = self._clock.wall_ns()
        parsed = self._parser.parse(received, now_ns)
        self._lines_born.read(
            self._port.found_empty.born_ns,
            ends_line=any(end in received for end in _LINE_ENDS),
            is_inside_line=self._parser.is_inside_line,
        )
        if len(parsed.frames):
            items.append(parsed.frames)
        items += self._back(parsed.replies, parsed.frames)
        items += self._news(parsed, now_ns)
        self._take_unread(parsed, received)
        return items + self._changes(now_seconds)

    def close(self) -> None:
        """Takes the adapter off the bus and closes the port, when nobody is writing to it."""
        if self._writer is not None:
            self._writer.close()
        with suppress(SourceError):  # it may be gone, which was told when reading failed
            self._port.write("C")
        self._port.close()

    def _set_up(self) -> None:
        self._is_mute, self._patience_seconds = True, _PATIENCE_SECONDS
        if self._writer is not None:
            self._writer.pause()
        self._acknowledged("C")
        self._port.discard(_QUIET_SECONDS)
        self._version = self._sentence("V")
        self._serial_number = self._sentence("N") if self._version else ""
        for step in self._steps():
            acknowledged = self._acknowledged(step.command)
            if acknowledged is False and step.refusal is not None:
                raise step.refusal
        if not self._is_mute:
            self._answered.add(self._dongle.channel)
        self._parser = SlcanParser()
        self._said = self._form_text()
        self._status_at_seconds = self._clock.monotonic_seconds()
        self._unread.begin(self._status_at_seconds)
        self._status_ns = self._clock.wall_ns()
        if self._writer is not None:
            self._writer.resume(is_mute=self._is_mute)

    def _steps(self) -> Iterator[_Step]:
        dongle = self._dongle
        rate = BITRATE_COMMANDS[dongle.bitrate or 0]
        yield self._step(rate, "BAD_OPTION", f"{dongle.bitrate} bit/s", "choose a `bitrate` that it has")
        if dongle.data_bitrate is not None:
            remedy = "leave out `fd` and `data_bitrate`: only CANable 2 and adapters like it know CAN FD"
            rate = DATA_BITRATE_COMMANDS[dongle.data_bitrate]
            yield self._step(rate, "NO_FD", f"{dongle.data_bitrate} bit/s for data", remedy)
        # A wish: what the adapter makes of it is seen from its frames, whatever it answers.
        yield _Step("Z1" if self._options.timestamps else "Z0", None)
        if dongle.mode == "listen_only":
            remedy = 'set `mode = "normal"` if it may acknowledge frames on this bus, or use another adapter'
            yield self._step("L", "NO_LISTEN_ONLY", "to listen only", remedy)
        else:
            yield self._step("O", "CANNOT_OPEN", "to open the bus", "unplug it and plug it in again")

    def _step(self, command: str, code: str, what: str, remedy: str) -> _Step:
        reason = f"the adapter at {self._dongle.channel} refuses {what} ({command})"
        return _Step(command, SourceError(code, reason, remedy))

    def _acknowledged(self, command: str) -> bool | None:
        """Whether the adapter says yes or no; None where it says nothing."""
        answer = self._ask(command, _ACKNOWLEDGEMENT)
        return None if answer is None else answer[0] == b"\r"

    def _sentence(self, command: str) -> str:
        """What the adapter says, without the letter in front; "" where it says nothing or no."""
        answer = self._ask(command, _SENTENCES[command])
        self._port.discard(_QUIET_SECONDS)
        return "" if answer is None or answer[1] is None else answer[1].decode("ascii")

    def _ask(self, command: str, answer: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = self._port.ask(command, answer, self._patience_seconds)
        if found is None:
            self._patience_seconds = _MUTE_PATIENCE_SECONDS
        else:
            self._is_mute = False
        return found

    def _ask_status(self, now_seconds: float) -> None:
        if now_seconds < self._status_at_seconds:
            return
        if self._unanswered >= _MAX_UNANSWERED:
            if self._answers_status:
                raise self._dead()
            return
        self._status_at_seconds = now_seconds + _ANSWER_SECONDS
        self._unanswered += 1
        if self._writer is None:
            self._port.write("F")
        else:
            self._writer.ask(self._port.write)

    def _new_writer(self) -> SlcanWriter:
        from edge_agent.transmit.slcan_writer import SlcanWriter  # noqa: PLC0415 - memory

        clock, dongle = self._clock, self._dongle
        return SlcanWriter(dongle.channel, self._port.put, clock.monotonic_seconds, fd=dongle.fd)

    def _back(self, replies: Sequence[Reply], frames: FrameBatch) -> list[Item | State]:
        """What was written, and the adapter has taken by what it says."""
        if self._writer is None:
            return []
        from edge_agent.transmit.slcan_writer import Answer  # noqa: PLC0415 - as above

        kinds = {
            ReplyKind.SENT: Answer.TAKEN, ReplyKind.DONE: Answer.DONE,
            ReplyKind.REFUSED: Answer.REFUSED, ReplyKind.STATUS: Answer.STATUS,
        }  # fmt: skip
        answers = [kinds[reply.kind] for reply in replies if reply.kind in kinds]
        own = frames[(frames.flags & FrameFlag.TX) != 0]
        back = self._writer.take(answers, own, self._clock.wall_ns())
        return [back] if len(back) else []

    def _news(self, parsed: Parsed, now_ns: int) -> Iterator[Item | State]:
        """What the adapter's answers to `F` tell, and what it tells unasked."""
        before = self._trouble
        for reply in parsed.replies:
            lost = False
            if reply.kind is ReplyKind.STATUS:
                self._unanswered, self._answers_status = 0, True
                self._status_at_seconds = self._clock.monotonic_seconds() + _STATUS_SECONDS
                flags = AdapterFlag(int(reply.text, 16))
                lost, self._trouble = bool(flags & LOSSES), trouble(flags)
            elif reply.kind is ReplyKind.STATE:
                self._trouble = trouble_of_state(reply.text)
            elif reply.kind is ReplyKind.ERRORS:
                lost = "o" in reply.text
            if lost:
                yield Dropped(None, min(self._status_ns, now_ns), now_ns)
            if lost or reply.kind is ReplyKind.STATUS:
                self._status_ns = now_ns
            if self._trouble != before:
                before = self._trouble
                yield self._state()

    def _changes(self, now_seconds: float) -> list[Item | State]:
        """How the source stands, where what its lines show is something else than before."""
        is_other_fault = self._unread.look(now_seconds)
        if self._unread.fault == "garbage" and self._again_at_seconds is None:
            self._again_at_seconds = now_seconds + _GARBAGE_SECONDS
        said, self._said = self._said, self._form_text()
        return [self._state()] if is_other_fault or said != self._said else []

    def _form_text(self) -> str:
        return form_text(self._parser.stamps, self._parser.remark, self._options.timestamps)

    def _state(self) -> State:
        channel = self._dongle.channel
        if self._unread.fault:
            code = StatusCode.FAILED if self._unread.fault == "garbage" else StatusCode.DEGRADED
            text = self._unread.text(channel, self._options.serial_baudrate)
            return State(code, text, self._unread.fault)
        if self._trouble is None:
            return State(StatusCode.OK, f"reading {self.info}")
        fault, text = self._trouble
        code = StatusCode.FAILED if fault == "bus_off" else StatusCode.DEGRADED
        return State(code, f"{channel}: {text}", fault)

    def _opened_port(self) -> SlcanPort:
        channel = self._dongle.channel
        try:
            return SlcanPort(channel, self._options.serial_baudrate, self._clock)
        except SourceError as error:
            if error.code == "NO_DEVICE":  # what is plugged in next may be another one
                self._answered.discard(channel)
            raise

    def _dead(self) -> SourceError:
        reason = f"the adapter at {self._dongle.channel} has answered before and does not any more"
        return SourceError("DEAD", reason, "it is opened again; if that does not help, plug it in again")

    def _take_unread(self, parsed: Parsed, received: bytes) -> None:
        makes_sense = len(parsed.frames) or any(reply.kind not in _PROVE_NOTHING for reply in parsed.replies)
        self._unread.take_garbage(b"" if makes_sense else received)
        now_seconds = self._clock.monotonic_seconds()
        self._unread.take(len(parsed.frames), len(parsed.replies), parsed.unread, now_seconds)
