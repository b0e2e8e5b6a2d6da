"""`--dbc`: the path of a file, or the name of a database that comes along."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from can_stream.databases.bundled import bundled
from can_stream.databases.options import DatabaseOptions
from edge_agent.cli.databases import Databases, database_option, load_for_command


@click.command()
@database_option(required=True)
def command(databases: Databases) -> None:
    """Says which files it was given."""
    click.echo("\n".join(map(str, databases.paths)))


def test_names_and_paths_may_be_mixed(tmp_path: Path) -> None:
    own = tmp_path / "own.kcd"
    result = CliRunner().invoke(command, ["--dbc", "obd2", "--dbc", str(own)])
    assert result.output.splitlines() == [str(bundled("obd2")), str(own)]


@pytest.mark.parametrize("typo", ["obd", "obd2.dbc", "dbc/obd2.dbc"])
def test_a_typo_is_answered_with_the_name_that_was_meant(
    typo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["--dbc", typo])
    assert result.exit_code == 2
    assert f"there is no file '{typo}', did you mean the database `obd2` that comes along?" in result.output


def test_a_file_of_the_user_wins_over_what_it_is_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("obd2.dbc").touch()
    assert CliRunner().invoke(command, ["--dbc", "obd2.dbc"]).output == "obd2.dbc\n"


def test_the_help_lists_the_names() -> None:
    words = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "the name of one that comes along: demo-vehicle, j1939, obd2." in words


@click.command()
@database_option(required=False)
def told(databases: Databases) -> None:
    """Says what was said of its files."""
    click.echo(f"{bool(databases)} {list(databases.options)}")


def test_what_is_said_of_databases_is_said_of_all_of_them() -> None:
    result = CliRunner().invoke(told, ["--dbc", "obd2", "--protocol", "j1939", "--encoding", "gbk"])
    assert result.output == f"True {[DatabaseOptions(protocol='j1939', encoding='gbk')]}\n"
    assert CliRunner().invoke(told, []).output == "False []\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--protocol", "j1939"], "give --dbc"),
        (["--dbc", "obd2", "--encoding", "klingon"], "no encoding is called 'klingon'"),
        (["--dbc", "obd2", "--protocol", "nmea"], "--protocol"),
    ],
)
def test_what_cannot_be_said_of_databases_is_refused(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(told, arguments)
    assert result.exit_code == 2
    assert reason in result.output


def test_findings_that_an_option_answers_are_told_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n2k.dbc"
    path.write_text('BO_ 2582713086 Heading: 8 A\n SG_ sid : 0|8@1+ (1,0) [0|255] "" A\n')
    load_for_command(Databases((path,)))
    assert "`--protocol j1939`" in capsys.readouterr().err
    load_for_command(Databases((path,), (DatabaseOptions(protocol="j1939"),)))
    assert capsys.readouterr().err == ""
