"""What commands share: parameters read by our parsers, and errors told in one sentence."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from can_stream.command_line.parameters import Parsed
from can_stream.logs.log_blocks import LogProblem
from can_stream.strict_config import ConfigError
from can_stream.strict_config.errors import Problem
from edge_agent.cli.parameters import SHOWN_PROBLEMS, tell_unreadable, told_in_one_sentence, warn
from edge_agent.errors import ReplayError
from edge_agent.logs.selection import IdRange, parse_id_range


@click.command
@click.option("--id", "ids", type=Parsed("ID", parse_id_range), multiple=True)
@click.option("--fallback", type=Parsed("ID", parse_id_range), default=IdRange(1, 2, is_extended=False))
def command(ids: tuple[IdRange, ...], fallback: IdRange) -> None:
    """A command with options of ours."""
    click.echo(f"{[one.first for one in ids]} {fallback.last}")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_a_parameter_is_what_our_parser_makes_of_it() -> None:
    done = run("--id", "7E8", "--id", "0x100-1FF")
    assert (done.exit_code, done.output) == (0, "[2024, 256] 2\n"), "a default needs no parsing"


def test_what_our_parser_refuses_is_wrong_usage_in_its_words() -> None:
    done = run("--id", "7E8", "--id", "XYZ")
    assert done.exit_code == 2
    assert "Invalid value for '--id': 'XYZ' is no arbitration id: write 7E8" in done.stderr


def test_help_names_the_parameter() -> None:
    assert "--id ID" in run("--help").output


@pytest.mark.parametrize(
    "error",
    [
        ReplayError("name at least one log"),
        ConfigError([Problem("server.url", "is required")], Path("agent.toml")),
    ],
)
def test_an_error_with_a_remedy_is_one_sentence_and_status_1(error: Exception) -> None:
    @click.command
    def failing() -> None:
        with told_in_one_sentence():
            raise error

    done = CliRunner().invoke(failing)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == f"Error: {error}\n"


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a fault"), told_in_one_sentence():
        raise RuntimeError("a fault")


def test_a_warning_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    warn("it holds no times")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Warning: it holds no times\n")


def problems(count: int) -> list[LogProblem]:
    return [LogProblem(Path("drive.log"), line, 0, "garbage", "xyz") for line in range(1, count + 1)]


def test_all_that_could_be_read_is_not_spoken_of(capsys: pytest.CaptureFixture[str]) -> None:
    tell_unreadable(0, [])
    assert capsys.readouterr() == ("", "")


def test_what_could_not_be_read_is_counted_and_the_first_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell_unreadable(5000, problems(SHOWN_PROBLEMS + 7))
    head, *lines = capsys.readouterr().err.splitlines()
    assert head == "Warning: 5000 lines or records could not be read and were left out:"
    assert len(lines) == SHOWN_PROBLEMS
    assert lines[0] == "  drive.log: line 1: garbage ('xyz')"
