"""The commands that let agents in, and take back what let them in."""

from __future__ import annotations

from pathlib import Path

import click

from can_stream.command_line.parameters import whole_number
from can_stream.protocol.identity import identifier_problem, is_identifier
from stream_server import clock
from stream_server.access import machines
from stream_server.access.standing import Deed, standing_of
from stream_server.cli import ACTOR, DATA_DIR, minute, opened
from stream_server.cli_secrets import OUT, show_once


@click.group()
def enroll() -> None:
    """Enrolment tokens, with which agents register."""


@enroll.command("create")
@DATA_DIR
@click.option(
    "--agent-id", metavar="ID", help="Only for this agent; an agent that exists gets a new identity."
)
@click.option(
    "--uses", type=whole_number("N", 1, 1_000_000), default=1, show_default=True,
    help="How many agents may register with it, up to 1000000.",
)  # fmt: skip
@click.option(
    "--valid-days", type=whole_number("N", 1, 3650), default=machines.VALID_DAYS, show_default=True,
    help="How long it may be used, for cards that wait to be put in: up to 3650.",
)  # fmt: skip
@OUT
def create_enrolment(
    data_dir: Path, agent_id: str | None, uses: int, valid_days: int, out: Path | None
) -> None:
    """Print a new enrolment token. It is shown only here."""
    if agent_id is not None and not is_identifier(agent_id):
        raise click.BadParameter(identifier_problem(agent_id), param_hint="--agent-id")
    directory = opened(data_dir)
    now_ns = clock.wall_ns()
    show_once(
        directory,
        lambda connection: machines.create_enrolment(connection, agent_id, uses, now_ns, ACTOR, valid_days),
        ACTOR,
        out=out,
    )


@enroll.command("list")
@DATA_DIR
def list_enrolments(data_dir: Path) -> None:
    """Print every enrolment token's id, uses left, times, and the agent it is for; never the token."""
    rows = opened(data_dir).administer(machines.enrolment_rows)
    click.echo(f"{'ID':>4}  {'USES LEFT':>9}  {'CREATED':16}  {'EXPIRES':16}  {'REVOKED':16}  FOR AGENT")
    for row in rows:
        times = "  ".join(
            f"{minute(at_ns):16}" for at_ns in (row.created_at_ns, row.expires_at_ns, row.revoked_at_ns)
        )
        click.echo(f"{row.id:>4}  {row.uses_left:>9}  {times}  {row.agent_id or 'any new one'}")


@enroll.command("revoke")
@DATA_DIR
@click.argument("enrolment_id", type=whole_number("N", 1))
def revoke_enrolment(data_dir: Path, enrolment_id: int) -> None:
    """Make the token ENROLMENT_ID of `enroll list` void; agents that registered with it stay."""
    now_ns = clock.wall_ns()
    opened(data_dir).administer(
        lambda connection: machines.revoke_enrolment(connection, enrolment_id, now_ns, ACTOR)
    )
    click.echo(f"enrolment token {enrolment_id} is revoked", err=True)


@click.group()
def agents() -> None:
    """Agents, and whether their tokens let them in."""


@agents.command("list")
@DATA_DIR
def list_agents(data_dir: Path) -> None:
    """Print every agent, whether its token is valid, when it registered and was last seen."""
    rows = opened(data_dir).administer(machines.agent_rows)
    click.echo(f"{'TOKEN':8}  {'CREATED':16}  {'LAST SEEN':16}  AGENT")
    for row in rows:
        times = f"{minute(row.created_at_ns):16}  {minute(row.last_seen_at_ns):16}"
        click.echo(f"{standing_of(row):8}  {times}  {row.agent_id}")


@agents.command()
@DATA_DIR
@click.argument("agent_id")
def revoke(data_dir: Path, agent_id: str) -> None:
    """Make the token of AGENT_ID void until it is enrolled again; its connections end within seconds.

    What it has recorded stays.
    """
    _set(data_dir, agent_id, "revoke")
    click.echo(
        f"the token of {agent_id} is revoked; `stream-server enroll create --agent-id {agent_id}` lets it in "
        "again",
        err=True,
    )


@agents.command()
@DATA_DIR
@click.argument("agent_id")
def disable(data_dir: Path, agent_id: str) -> None:
    """Keep AGENT_ID out until it is enabled; its connections end within seconds.

    What it has recorded stays, and its token is valid again afterwards.
    """
    _set(data_dir, agent_id, "disable")
    click.echo(f"{agent_id} is disabled; `stream-server agents enable {agent_id}` lets it in again", err=True)


@agents.command()
@DATA_DIR
@click.argument("agent_id")
def enable(data_dir: Path, agent_id: str) -> None:
    """Let AGENT_ID, which was disabled, in again."""
    _set(data_dir, agent_id, "enable")
    click.echo(f"{agent_id} is enabled", err=True)


def _set(data_dir: Path, agent_id: str, deed: Deed) -> None:
    now_ns = clock.wall_ns()
    opened(data_dir).administer(
        lambda connection: machines.set_agent(connection, agent_id, deed, now_ns, ACTOR)
    )
