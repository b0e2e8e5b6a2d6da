"""Who may do what: credentials of a request, roles, CSRF, rate limits, open streams per credential."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from stream_server import clock
from stream_server.access import credentials
from stream_server.access.rate_limit import TokenBuckets, address_key
from stream_server.access.roles import Role, role_suffices
from stream_server.access.secrets import csrf_token, hash_secret, kind_of, same
from stream_server.config import LimitsSection
from stream_server.cutting import cut
from stream_server.errors import ApiError
from stream_server.metrics import Metrics
from stream_server.storage.database import Database

Needs = Literal["open", "agent", "viewer", "operator", "admin"]
LongKind = Literal["streams", "downloads"]
"""What goes on for as long as its client likes: console streams, and the recording as it is read."""

SESSION_COOKIE: Final = "stream_server_session"
CSRF_HEADER: Final = "X-CSRF-Token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
FAREWELL_SECONDS: Final = 3.0
"""How long who is told that a credential has ended may take to hang up."""
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="stream-server"'}


@dataclass(frozen=True, slots=True)
class Credential:
    """Who asks. `subject` is the name in the audit trail; `secret` never leaves this object."""

    kind: credentials.Kind
    subject: str
    role: Role | None
    agent_id: str | None
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.subject})"


@dataclass(slots=True)
class _Open:
    """A request that is being answered, and how it is told that its credential has ended."""

    credential: Credential
    task: asyncio.Task[object]
    transport: asyncio.Transport | None
    tell: Callable[[], object] | None = None

    def end(self) -> None:
        """Cut it off, at once or when it has been told."""
        if self.tell is None:
            self.task.cancel()
        else:
            self.tell()
        if self.transport is not None:  # where nobody reads, what is cancelled would still wait to be sent
            delay_seconds = 0.0 if self.tell is None else FAREWELL_SECONDS
            asyncio.get_running_loop().call_later(delay_seconds, cut, self.transport)


@dataclass(frozen=True, slots=True)
class _Held:
    """A slot: who holds it, and for what."""

    kind: LongKind
    credential: Credential


class Access:
    """The door of one server. `trust_forwarded`: believe the proxy's X-Forwarded-For and -Proto."""

    def __init__(
        self, database: Database, limits: LimitsSection, metrics: Metrics, *, trust_forwarded: bool
    ) -> None:
        self._database = database
        self._limits = limits
        self._metrics = metrics
        self._trust_forwarded = trust_forwarded
        self._requests = TokenBuckets(limits.requests_per_second, limits.request_burst)
        self._failures = TokenBuckets(
            limits.failed_authentications_per_minute / 60, limits.failed_authentication_burst
        )
        self._open: dict[asyncio.Task[object], _Open] = {}
        self._slots: dict[asyncio.Task[object], _Held] = {}
        self._used_tokens: dict[int, int] = {}

    def remote(self, request: web.Request) -> str:
        """The address of the client, as the audit trail shows it."""
        if self._trust_forwarded:
            # The last entry is the one our own proxy wrote; those before it are the client's word.
            forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            if forwarded:
                return forwarded[:64]
        return request.remote or "unknown"

    def is_https(self, request: web.Request) -> bool:
        """Whether the client came over TLS."""
        if self._trust_forwarded:
            return request.headers.get("X-Forwarded-Proto", request.scheme) == "https"
        return request.scheme == "https"

    async def admit(self, request: web.Request, needs: Needs) -> Credential | None:
        """The credential of a request that may pass, None on an open route. ApiError 401, 403 or 429."""
        if needs == "open":
            return None
        credential = await self.identify(request)
        if credential is None:
            raise ApiError(
                401,
                "UNAUTHENTICATED",
                "this needs a credential: an Authorization: Bearer token, or a browser session",
                headers=_CHALLENGE,
            )
        self._limit(credential)
        self._authorise(credential, needs)
        if credential.kind == "session" and request.method not in SAFE_METHODS:
            self._check_csrf(request, credential)
        return credential

    async def identify(self, request: web.Request) -> Credential | None:
        """Whose request this is, None when it carries no credential. ApiError 401 for one that is void."""
        secret, kind = _presented(request)
        if secret is None:
            return None
        known = kind_of(secret)
        identity = None
        if kind == "session" and known == "session":
            identity = await self._database.read(
                lambda connection: credentials.identify_session(connection, secret, clock.wall_ns())
            )
        elif kind == "bearer" and known == "api":
            identity = await self._database.read(
                lambda connection: credentials.identify_api_token(connection, secret)
            )
        elif kind == "bearer" and known == "agent":
            identity = await self._database.read(
                lambda connection: credentials.identify_agent(connection, secret)
            )
        if identity is None:
            message = "this credential is unknown, expired or revoked"
            if known == "agent":
                message = "this agent token is unknown, replaced, revoked or disabled; `stream-server agents "
                message += "list` says which"
            if known == "api":
                message += "; `stream-server token create` on this server's data directory makes one"
            if known == "session":
                # A browser sends its expired cookie again and again; 256 random bits are nobody's guess.
                raise ApiError(401, "UNAUTHENTICATED", message, headers=_CHALLENGE)
            raise self.refused(request, "UNAUTHENTICATED", message)
        if known == "api":
            self._used_tokens[int(identity.subject.partition(":")[2])] = clock.wall_ns()
        return Credential(
            "session" if kind == "session" else "agent" if known == "agent" else "token",
            identity.subject,
            identity.role,
            identity.agent_id,
            secret,
        )

    def refused(self, request: web.Request, code: str, message: str) -> ApiError:
        """The 401 for a credential that is void; 429 when this address has tried too many."""
        self._metrics.authentication_failures.inc()
        wait = self._failures.take_token(address_key(self.remote(request)), clock.monotonic_seconds())
        if wait > 0:
            return self._too_many("TOO_MANY_FAILURES", "too many refused credentials from this address", wait)
        return ApiError(401, code, message, headers=_CHALLENGE)

    @contextlib.contextmanager
    def holding(self, credential: Credential | None, request: web.Request) -> Iterator[None]:
        """What this task does for a request ends when its credential does: every route is served in here."""
        if credential is None:
            yield
            return
        task = _this_task()
        self._open[task] = _Open(credential, task, request.transport)
        try:
            yield
        finally:
            del self._open[task]

    def tell_end(self, tell: Callable[[], object]) -> None:
        """Have `tell` called when the credential of this task's request has ended, instead of cancelling it.

        It has `FAREWELL_SECONDS` to close the connection with a reason.
        """
        self._open[_this_task()].tell = tell

    async def end_void(self) -> None:
        """End whatever is open with a credential that is void. Call it every second."""
        open_now = list(self._open.values())
        kinds = {one.credential.kind for one in open_now}
        if not kinds:
            return
        now_ns = clock.wall_ns()
        valid = await self._database.read(
            lambda connection: credentials.valid_hashes(connection, kinds, now_ns)
        )
        for one in open_now:
            if self._open.get(one.task) is one and hash_secret(one.credential.secret) not in valid:
                one.end()

    @contextlib.contextmanager
    def slot(self, kind: LongKind, credential: Credential) -> Iterator[None]:
        """Hold one of the slots for long answers in this task. ApiError 429 when all are taken."""
        self._check_slots(kind, credential)
        task = _this_task()
        self._slots[task] = _Held(kind, credential)
        try:
            yield
        finally:
            del self._slots[task]

    def _check_slots(self, kind: LongKind, credential: Credential) -> None:
        holders = [held.credential.subject for held in self._slots.values() if held.kind == kind]
        code = f"TOO_MANY_{kind.upper()}"
        own, every = self._slot_limits(kind)
        if holders.count(credential.subject) >= own:
            raise self._too_many(code, f"{own} {kind} are open with this credential; close one", 5.0)
        if every is not None and len(holders) >= every:
            raise self._too_many(code, f"{every} {kind} are open, as many as this server has at a time", 5.0)

    def _slot_limits(self, kind: LongKind) -> tuple[int, int | None]:
        """How many a credential may have, and how many there may be in all (None: any number)."""
        if kind == "streams":
            return self._limits.streams_per_credential, None
        return self._limits.downloads_per_credential, self._limits.downloads

    def open_slots(self, kind: LongKind) -> int:
        """How many long answers of a kind are open."""
        return sum(held.kind == kind for held in self._slots.values())

    def end_downloads(self) -> None:
        """The server stops. Console streams end by themselves, with what there is to say."""
        for task, held in list(self._slots.items()):
            if held.kind == "downloads":
                task.cancel()

    async def tidy(self) -> None:
        """Store when tokens were used. Call it every few seconds."""
        used, self._used_tokens = self._used_tokens, {}
        if used:
            await self._database.write(lambda connection: credentials.touch_api_tokens(connection, used))

    def _limit(self, credential: Credential) -> None:
        wait = self._requests.take_token(credential.subject, clock.monotonic_seconds())
        if wait > 0:
            raise self._too_many("RATE_LIMITED", "too many requests with this credential", wait)

    def _too_many(self, code: str, message: str, wait_seconds: float) -> ApiError:
        self._metrics.rate_limited.inc()
        seconds = max(1, round(wait_seconds + 0.5))
        return ApiError(429, code, message, {"retry_after_seconds": seconds}, {"Retry-After": str(seconds)})

    @staticmethod
    def _authorise(credential: Credential, needs: Needs) -> None:
        if needs == "agent":
            if credential.agent_id is None:
                raise ApiError(403, "FORBIDDEN", "this is for agents, with their agent token")
        elif needs != "open" and (credential.role is None or not role_suffices(credential.role, needs)):
            raise ApiError(
                403,
                "FORBIDDEN",
                f"this needs the role {needs}, not {credential.role}: ask for a token of that role",
                {"needed_role": needs},
            )

    @staticmethod
    def _check_csrf(request: web.Request, credential: Credential) -> None:
        if not same(request.headers.get(CSRF_HEADER, ""), csrf_token(credential.secret)):
            raise ApiError(
                403,
                "CSRF_TOKEN_INVALID",
                f"a browser session needs the header {CSRF_HEADER}; GET /api/v1/auth/csrf tells its value",
            )


def _presented(request: web.Request) -> tuple[str | None, Literal["bearer", "session"]]:
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        return (secret.strip() if scheme.lower() == "bearer" else ""), "bearer"
    return request.cookies.get(SESSION_COOKIE), "session"


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
