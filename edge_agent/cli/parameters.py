"""What commands share: the configuration they are about, and errors told in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from can_stream.command_line.parameters import FileName
from can_stream.errors import CanStreamError
from can_stream.private_files import others_may_read
from can_stream.strict_config import ConfigError
from can_stream.text.foreign import shown
from edge_agent.config.server_url import is_secure

if TYPE_CHECKING:
    from can_stream.logs.log_blocks import LogProblem


SHOWN_PROBLEMS: Final = 20
AGENT_CONFIG: Final = Path("/etc/edge-agent/agent.toml")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(*, required: bool = True, **type_options: bool) -> Callable[[_Command], _Command]:
    """`--config FILE`, the parameter `path`: the agent's configuration. None where it need not be there."""
    return click.option(
        "--config",
        "path",
        type=FileName(**type_options),
        default=AGENT_CONFIG if required else None,
        help=f"The agent's configuration.  [default: {AGENT_CONFIG}]",
    )


def own_hand_options(command: _Command) -> _Command:
    """`--config FILE`, the parameter `path`, and `--force`, of commands that transmit."""
    force = click.option(
        "--force",
        is_flag=True,
        help="Transmit also where an agent of this machine is told to listen only.",
    )
    return config_option(required=False)(force(command))


def clear_text_option() -> Callable[[_Command], _Command]:
    """`--allow-clear-text`: for tokens that others can read."""
    return click.option(
        "--allow-clear-text",
        is_flag=True,
        help="Send the token over http:// to another machine all the same.",
    )


def warn(message: str) -> None:
    """On standard error."""
    click.echo(f"Warning: {shown(message)}", err=True)


def tell_unused_ca(server: str, ca_file: Path | None) -> None:
    """A `ca_file` that stands for nothing, for a `server` whose URL has no problem."""
    if ca_file is not None and not is_secure(server):
        warn(f"--ca-file is not used: {server} is not encrypted, and proves nothing of itself. Use https://")


def tell_others(token_file: Path) -> None:
    """A token that others can read too."""
    if (said := others_may_read(token_file)) is not None:
        warn(said)


def tell_unmatched(unmatched: Iterable[str]) -> None:
    """What was chosen and is not there: it may be misspelt."""
    for one in unmatched:
        warn(one)


def tell_unreadable(unreadable: int, problems: Sequence[LogProblem]) -> None:
    """What of logs could not be read, the first 20 by name."""
    if unreadable:
        one = unreadable == 1
        what = (
            "line or record could not be read and was"
            if one
            else "lines or records could not be read and were"
        )
        warn(f"{unreadable} {what} left out:")
        for problem in problems[:SHOWN_PROBLEMS]:
            click.echo(f"  {shown(str(problem))}", err=True)


@contextlib.contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Errors with a remedy end the command with exit status 1, without a traceback."""
    try:
        yield
    except (CanStreamError, ConfigError) as error:
        raise click.ClickException(str(error)) from error
