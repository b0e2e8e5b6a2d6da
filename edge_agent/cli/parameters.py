"""What commands share: parameters read by parsers of ours, and errors told in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from can_stream.errors import CanStreamError
from can_stream.strict_config import ConfigError

if TYPE_CHECKING:
    from can_stream.logs.log_blocks import LogProblem


SHOWN_PROBLEMS: Final = 20


def warn(message: str) -> None:
    """On standard error."""
    click.echo(f"Warning: {message}", err=True)


def tell_unreadable(unreadable: int, problems: Sequence[LogProblem]) -> None:
    """What of logs could not be read, the first 20 by name."""
    if unreadable:
        warn(f"{unreadable} lines or records could not be read and were left out:")
        for problem in problems[:SHOWN_PROBLEMS]:
            click.echo(f"  {problem}", err=True)


@contextlib.contextmanager
def told_in_one_sentence() -> Iterator[None]:
    """Errors with a remedy end the command with exit status 1, without a traceback."""
    try:
        yield
    except (CanStreamError, ConfigError) as error:
        raise click.ClickException(str(error)) from error


class Parsed(click.ParamType[Any]):
    """A parameter read by one of our parsers, whose ValueError is the message."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the parser makes of the text; its ValueError is what the user is told."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
