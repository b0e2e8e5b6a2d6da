"""How commands give a new secret away: once, on standard output or into a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from sqlalchemy import Connection

from can_stream.command_line.parameters import FileName
from can_stream.private_files import place_for_secret
from can_stream.standard_streams import was_closed
from stream_server import clock
from stream_server.access import credentials
from stream_server.storage.data_directory import DataDirectory

# What one of our secrets, or a link with one, has in it.
_OURS: Final = b"cea_"
_MOST_BYTES: Final = 4096

OUT = click.option(
    "--out",
    type=FileName(),
    help="Write it into this file, readable for its owner alone.",
)


def show_once(
    directory: DataDirectory,
    create: Callable[[Connection], str],
    actor: str,
    *,
    before: str = "",
    out: Path | None = None,
) -> None:
    """Give a new secret away behind `before`. Nobody can look it up: where that fails there is none."""
    if out is not None:
        _write_once(directory, create, actor, before, out)
        return
    if was_closed("stdout"):
        raise click.ClickException("standard output, where alone a secret is shown, is closed: none was made")
    with _void_where_it_fails(directory, create, actor) as secret:
        click.echo(before + secret)


def _write_once(
    directory: DataDirectory, create: Callable[[Connection], str], actor: str, before: str, out: Path
) -> None:
    try:
        _refuse_what_is_no_secret(out)
        with place_for_secret(out) as store, _void_where_it_fails(directory, create, actor) as secret:
            store(f"{before}{secret}\n")
    except OSError as error:
        remedy = "name a new file in a directory that is there"
        raise click.ClickException(f"cannot write {out}: {error.strerror}; {remedy}") from error
    click.echo(f"{out} has it, and only its owner may read it", err=True)


def _refuse_what_is_no_secret(out: Path) -> None:
    """A slip of the hand does not cost a file of somebody's. OSError."""
    if not out.exists():
        return
    if out.is_file():
        with out.open("rb") as file:
            words = file.read(_MOST_BYTES + 1).split()
        if not words or (len(words) == 1 and _OURS in words[0]):
            return
    raise click.ClickException(f"{out} holds something else than a secret of ours; name another file")


@contextmanager
def _void_where_it_fails(
    directory: DataDirectory, create: Callable[[Connection], str], actor: str
) -> Iterator[str]:
    secret = directory.administer(create)
    try:
        yield secret
    except click.ClickException as error:
        _take_back(directory, secret, actor)
        raise click.ClickException(f"{error.message}: the new secret is void again") from error
    except OSError:  # the reader of a pipe has gone, or a disk is full
        _take_back(directory, secret, actor)
        raise


def _take_back(directory: DataDirectory, secret: str, actor: str) -> None:
    now_ns = clock.wall_ns()
    directory.administer(lambda connection: credentials.take_back(connection, secret, now_ns, actor))
