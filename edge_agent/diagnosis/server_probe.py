"""Whether the server can be reached and takes the agent's token, without a trace in its registry."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.errors import UplinkError
from edge_agent.uplink.asking import Asking
from edge_agent.uplink.obstacle import Obstacle, by_answer

# Of both questions together: a look-up of a name may take almost all of it.
TIMEOUT_SECONDS: Final = 11.0
_ABOUT: Final = "server"
# What is said of a token that is good; or many have asked.
_TAKEN: Final = frozenset({200, 400, 429})


def server_fact(
    url: str, ca_file: Path | None, token: str | None, token_file: str | None = None
) -> Fact | None:
    """What is in the way; None where the server answers, and takes `token` where there is one."""
    try:
        asking = Asking(url, ca_file, TIMEOUT_SECONDS)
    except UplinkError as error:
        return Fact("bad_ca_file", _ABOUT, str(error))
    answer = asking.ask("/healthz")
    if isinstance(answer, Obstacle):
        return _fact(answer)
    if answer.status != 200 or not answer.body.lstrip().startswith(b"{"):
        return _fact(by_answer(asking.way, answer))
    if token is None:
        return None
    answer = asking.ask_about(token)
    if isinstance(answer, Obstacle):
        return _fact(answer)
    taken = answer.status in _TAKEN and (answer.status == 200 or answer.own_words is not None)
    return None if taken else _fact(by_answer(replace(asking.way, token_file=token_file or ""), answer))


def _fact(seen: Obstacle) -> Fact:
    return Fact(seen.fault, _ABOUT, seen.text)
