"""One way of saying things: the help of every command of both programs, their mistakes, their completion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner

from can_stream.command_line.completion import SHELLS
from can_stream.command_line.listed_group import INTERRUPTED, Listed, ListedGroup
from tests.helpers.processes import installed_command
from tests.helpers.programs import PROGRAMS, OneCommand, every_command

COLUMNS: Final = 80
COMMANDS: Final = every_command()
# What has a configuration, and what else has it: everything that reads or places one.
CONFIGURED: Final = {
    "edge-agent": {
        "run",
        "status",
        "doctor",
        "check-config",
        "set-up-can",
        "can-helper",
        "install",
        "replay",
        "simulate",
        "relay show",
        "relay stop",
        "relay start",
    },
    "stream-server": {"run", "check-config"},
}
NOT_LOADED: Final = ("numpy", "asyncio", "aiohttp", "sqlalchemy", "can", "cantools")


def help_of(one: OneCommand, columns: int = COLUMNS) -> str:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(one.program, [*one.words, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("columns", [COLUMNS, 200])
@pytest.mark.parametrize("one", COMMANDS, ids=str)
def test_help_fits_its_lines(one: OneCommand, columns: int) -> None:
    text = help_of(one, columns)
    assert max(map(len, text.splitlines())) <= COLUMNS
    usage, *rest = text.split("\n\n")
    assert usage.startswith(f"Usage: {one}")
    assert not [line for block in rest for line in block.splitlines() if line.endswith("...")]
    assert not [line for line in text.splitlines() if line.endswith(("-", "[default:"))], "cut in two"


@pytest.mark.parametrize("one", [one for one in COMMANDS if one.name], ids=str)
def test_help_has_an_example_of_the_command(one: OneCommand) -> None:
    row = one.program.listed[one.name]
    assert row.examples
    for example in row.examples:
        assert str(one) in example
        assert all(line.strip() in help_of(one) for line in example.splitlines())
        assert "\\b" not in help_of(one)


@pytest.mark.parametrize("one", COMMANDS, ids=str)
def test_what_an_option_takes_is_said_in_words(one: OneCommand) -> None:
    text = help_of(one)
    for unspoken in ("RANGE", "<=", "INTEGER", "FLOAT", " TEXT ", " PATH ", "Default: "):
        assert unspoken not in text.replace("--name TEXT", "")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_every_command_stands_below_what_one_wants_to_do(program: ListedGroup) -> None:
    context = click.Context(program)
    table, _, example = help_of(OneCommand(program, "", program)).partition("For example:\n")
    assert example.startswith(f"    {program.name} ")
    listed = table.split("\nTo ")[1:]
    names = [line.split()[0] for block in listed for line in block.splitlines()[1:] if line.strip()]
    assert names == program.list_commands(context)
    for name in program.listed:
        assert any(one.program is program and one.name == name for one in COMMANDS), f"{name} is no command"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_a_configuration_is_the_same_option_everywhere(program: ListedGroup) -> None:
    said, having = set(), set()
    for one in COMMANDS:
        lines = [line.split() for line in help_of(one).splitlines()]
        if one.program is not program or ["--config", "FILE"] not in [words[:2] for words in lines]:
            continue
        (option,) = (each for each in one.command.params if "--config" in each.opts)
        assert isinstance(option, click.Option)
        said.add(option.help)
        having.add(one.name)
    assert len(said) == 1
    assert having == CONFIGURED[str(program.name)]


@pytest.mark.parametrize(
    ("program", "typed", "meant"),
    [(0, ["dongle"], "dongles"), (0, ["chek-config"], "check-config"), (0, ["dbc", "lnt"], "lint"),
     (1, ["rn"], "run"), (1, ["token", "creat"], "create"), (0, ["run", "--confg", "x"], "--config")],
)  # fmt: skip
def test_a_slip_is_told_what_was_meant(program: int, typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(PROGRAMS[program], typed)
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.stderr


def test_something_else_is_not_guessed_at() -> None:
    result = CliRunner().invoke(PROGRAMS[0], ["frobnicate"])
    assert "No such command 'frobnicate'." in result.stderr
    assert "mean" not in result.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_help_loads_no_command(program: ListedGroup) -> None:
    module = {"edge-agent": "edge_agent.cli.main", "stream-server": "stream_server.main"}[str(program.name)]
    script = (
        f"import sys; from {module} import main; main(['--help'], standalone_mode=False);"
        f"sys.exit(str([name for name in {NOT_LOADED} if name in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def completed(program: str, words: str) -> list[str]:
    """What bash would be offered behind these words."""
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), variable: "bash_complete"}
    done = subprocess.run(
        [*map(str, installed_command(program))],
        env=os.environ | asked, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_choices_and_files_are_completed() -> None:
    assert completed("edge-agent", "edge-agent d") == ["decode", "dbc", "dongles", "doctor"]
    assert completed("edge-agent", "edge-agent decode --fo") == ["--format"]
    assert completed("edge-agent", "edge-agent decode --format ") == ["jsonl", "csv"]
    assert completed("edge-agent", "edge-agent run --c") == ["--config"]
    assert completed("stream-server", "stream-server token ") == ["create", "list", "revoke"]
    assert completed("stream-server", "stream-server token create --role ") == ["viewer", "operator", "admin"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.name))
def test_each_shell_takes_its_completion(program: ListedGroup, shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["completion", shell])
    assert result.exit_code == 0
    assert f"_{str(program.name).replace('-', '_').upper()}_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell) is not None:
        file = tmp_path / "completion"
        file.write_text(result.stdout)
        checked = subprocess.run([shell, "-n", file], check=False, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_a_shell_that_is_not_known_is_told_which_are() -> None:
    result = CliRunner().invoke(PROGRAMS[0], ["completion", "tcsh"])
    assert result.exit_code == 2
    assert all(shell in result.stderr for shell in SHELLS)


def test_ctrl_c_in_a_command_is_one_word_and_130() -> None:
    @click.command()
    def waits() -> None:
        raise KeyboardInterrupt

    class Group(ListedGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return waits

    result = CliRunner().invoke(Group("any", listed={"waits": Listed("", "", "", ())}), ["waits"])
    assert (result.exit_code, result.stdout, result.stderr) == (INTERRUPTED, "", "interrupted\n")
