"""What a parameter takes, and what is said of what it does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from can_stream.command_line.parameters import FileName, number, whole_number
from edge_agent.cli.main import main
from tests.helpers.candump_logs import write_log


def taken(kind: click.ParamType[Any], text: object) -> Any:
    return kind.convert(text, None, None)


@pytest.mark.parametrize("text", ["0.005", "10", "1e-2", " 3"])
def test_a_number_within_its_bounds(text: str) -> None:
    assert taken(number("SECONDS", 0.005, 10), text) == float(text)


@pytest.mark.parametrize("text", ["0.0049", "10.1", "nan", "inf", "ten", "", "1,5"])
def test_any_other_is_told_the_bounds_in_words(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no number from 0\.005 to 10"):
        taken(number("SECONDS", 0.005, 10), text)


@pytest.mark.parametrize("text", ["-1", "65536", "80.0", "8_0", "\N{ARABIC-INDIC DIGIT EIGHT}", "", "http"])
def test_a_whole_number_is_digits_within_its_bounds(text: str) -> None:
    kind = whole_number("PORT", 0, 65_535)
    assert [taken(kind, "0"), taken(kind, "8080"), taken(kind, 8080)] == [0, 8080, 8080]
    with pytest.raises(click.BadParameter, match="is no whole number from 0 to 65535"):
        taken(kind, text)
    with pytest.raises(click.BadParameter, match="is no whole number from 1 up"):
        taken(whole_number("ID", 1), "0")


def test_a_file_is_a_path_and_called_so() -> None:
    assert taken(FileName(), "drive.log") == Path("drive.log")
    assert FileName().name == "file"


@pytest.mark.parametrize("speed", ["max", "MAX", "1000"])
def test_the_speed_is_taken_as_help_has_it(tmp_path: Path, speed: str) -> None:
    log = write_log(tmp_path / "drive.log", 3, 100)
    result = CliRunner().invoke(main, ["replay", str(log), "--print", "--speed", speed])
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3)


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "1000001"])
def test_no_speed_is_told_what_is_one(speed: str) -> None:
    result = CliRunner().invoke(main, ["replay", "drive.log", "--print", "--speed", speed])
    assert result.exit_code == 2
    assert f"'{speed}' is neither max nor a number above 0" in result.stderr
