"""Bodies of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from can_stream.protocol.control import ServiceStatus, Text
from can_stream.protocol.identity import Identifier
from stream_server.access.roles import Role
from stream_server.access.standing import Standing
from stream_server.groups.activation import MAX_ACTIVE_SECONDS
from stream_server.groups.group_state import Mode, OfflineSide


class _Answer(msgspec.Struct, frozen=True):
    """Something the server says; later versions may add fields."""


class ErrorBody(_Answer, frozen=True):
    """Every error of the API."""

    code: str
    message: str
    details: dict[str, Any]


class Done(_Answer, frozen=True):
    """The request was carried out and there is nothing else to say."""

    ok: bool = True


class PresenceView(_Answer, frozen=True):
    """Whether a dongle can be reached: its agent is online and lists it."""

    dongle_id: str
    online: bool
    agent_id: str
    seen_at: str | None
    reason: str
    clock_synchronised: bool | None


class RecordingView(_Answer, frozen=True):
    """The frames lane in numbers since the dongle was first seen, and how much retention has deleted."""

    packets: int
    frames: int
    deleted_packets: int
    deleted_frames: int


class DongleView(_Answer, frozen=True):
    """A dongle as its gateway describes it, its presence and its recording.

    `frames`: whether its frames lane carries any. `signal_table`: the hash of its current signal table.
    """

    dongle_id: str
    agent_id: str
    interface: str
    channel: str
    device_id: str | None
    mode: str
    bitrate: int | None
    fd: bool
    data_bitrate: int | None
    frames: Literal["all", "off"]
    signal_table: str | None
    listed: bool
    presence: PresenceView
    recording: RecordingView


class DongleList(_Answer, frozen=True):
    """All dongles, by id."""

    dongles: list[DongleView]


class GroupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two dongles that are to be a group. `group_id` null: it is called after them."""

    dongle_a_id: Identifier
    dongle_b_id: Identifier
    group_id: Identifier | None = None


class ActivateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: all is done but put on the bus. `active_seconds`: when it ends by itself; null: never."""

    dry_run: bool = False
    active_seconds: Annotated[int, Meta(ge=1, le=MAX_ACTIVE_SECONDS)] | None = None


class DirectionsView(_Answer, frozen=True):
    """Of each direction "open", or why it is closed and what opens it."""

    a_to_b: str
    b_to_a: str


class LatencyView(_Answer, frozen=True):
    """Age of frames when their bus has them, in milliseconds, over the last moments."""

    p50: float
    p99: float


class GroupView(_Answer, frozen=True):
    """Two dongles as one. `offline_side`: which of them cannot be reached now. `reason`: why the group is not
    active, or why nothing is relayed. Counts are of frames, in all activations: what was made is missing,
    buffered, counted, sent, accepted, in doubt or not sent."""

    group_id: str
    dongle_a_id: str
    dongle_b_id: str
    mode: Mode
    offline_side: OfflineSide | None
    created_at: str
    reason: str | None
    activation: str | None
    dry_run: bool
    directions: DirectionsView
    buffer_pressure: bool
    replaying: bool
    made_frames_a_to_b: int
    made_frames_b_to_a: int
    missing_frames_a_to_b: int
    missing_frames_b_to_a: int
    buffered_frames_a_to_b: int
    buffered_frames_b_to_a: int
    counted_a_to_b: dict[str, int]
    counted_b_to_a: dict[str, int]
    sent_a_to_b: int
    sent_b_to_a: int
    accepted_a_to_b: int
    accepted_b_to_a: int
    not_sent_a_to_b: dict[str, int]
    not_sent_b_to_a: dict[str, int]
    in_doubt_a_to_b: int
    in_doubt_b_to_a: int
    latency_ms_a_to_b: LatencyView | None
    latency_ms_b_to_a: LatencyView | None


class GroupList(_Answer, frozen=True):
    """All groups, by id."""

    groups: list[GroupView]


class SignalView(_Answer, frozen=True):
    """What a signal said last, and when.

    `value` as in `can_frame` events: the name of a choice where there is one, else `number`, the scaled
    number itself, integers with all their bits; NaN, Infinity and -Infinity are strings. `choices`: raw
    number to name.
    """

    message: str
    signal: str
    value: int | float | str
    number: int | float | str
    unit: str
    choices: dict[str, str] | None
    ts: str


class SignalValues(_Answer, frozen=True):
    """The last value of each signal that has had one, in the order of the signal table `hash`.

    `hash` is null, and there are no signals, while the server knows no table of the dongle.
    """

    dongle_id: str
    hash: str | None
    signals: list[SignalView]


class AgentView(_Answer, frozen=True):
    """An agent and its last known state. Times are UTC; `start_id` names its current start.

    `credential`: whether its token lets it in, or was taken back.
    """

    agent_id: str
    online: bool
    reason: str
    version: str
    created_at: str
    last_seen: str | None
    start_id: str | None
    clock_synchronised: bool | None
    remote: str | None
    dongles: list[str]
    services: list[ServiceStatus]
    credential: Standing


class AgentList(_Answer, frozen=True):
    """All agents, by id."""

    agents: list[AgentView]


class ServiceList(_Answer, frozen=True):
    """The services of one agent, by `agent_service_id`."""

    agent_id: str
    services: list[ServiceStatus]


class EnrolmentView(_Answer, frozen=True):
    """An enrolment token, without its secret. `agent_id` null: for any new agent; `expires` null: never."""

    id: int
    agent_id: str | None
    uses_left: int
    created: str
    expires: str | None
    revoked: str | None


class EnrolmentList(_Answer, frozen=True):
    """All enrolment tokens, oldest first."""

    enrolments: list[EnrolmentView]


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most so many `can_frame` events per second on this stream; null is no limit."""

    max_frames_per_second: Annotated[int, Meta(ge=1, le=100_000)] | None


class LinkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a link's fragment."""

    token: Text


class Me(_Answer, frozen=True):
    """Who is asking. `csrf_token` goes into X-CSRF-Token on unsafe methods; null without a cookie session."""

    subject: str
    role: Role
    kind: Literal["token", "session"]
    csrf_token: str | None


class Csrf(_Answer, frozen=True):
    """The session's CSRF token, null when there is no session."""

    csrf_token: str | None


class AuditRecord(_Answer, frozen=True):
    """Who did what to which, when, from where, before and after.

    `count`: how often, within a minute; then `at` and `before` are of the first time, all else of the last.
    """

    id: int
    at: str
    actor: str
    action: str
    subject: str
    remote: str | None
    before: Any
    after: Any
    count: int
    last_at: str


class AuditPage(_Answer, frozen=True):
    """Newest first; `next_before` goes into `?before=` for the page that follows, null at the end."""

    records: list[AuditRecord]
    next_before: int | None


class Health(_Answer, frozen=True):
    """The process, or its storage, works. `warnings`: what an operator should look at all the same."""

    status: Literal["ok"] = "ok"
    warnings: list[str] | UnsetType = UNSET
