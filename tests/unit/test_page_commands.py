"""Every block of commands of the README and the docs is run by a test, or excepted with a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.pages import EXCEPTED, PAGES, ROOT, STAYS, Block, Terminal, blocks_of, fences_of

LANGUAGES = {"http", "ini", "json", "mermaid", "nginx", "python", "sh", "text", "toml", "yaml"}
MOST_EXCEPTED = 6
BASH = ["bash", "-euo", "pipefail"]


def block(commands: str) -> Block:
    return Block("page.md", 1, commands)


def test_at_most_six_blocks_are_not_run_and_each_is_there() -> None:
    excepted = [one.exception for page in PAGES for one in blocks_of(page) if one.exception]
    assert sorted(excepted) == sorted(beginning for page in EXCEPTED.values() for beginning in page)
    assert len(excepted) <= MOST_EXCEPTED


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_by_its_language_whether_it_is_commands(page: str) -> None:
    text = (ROOT / page).read_text()
    assert {language for language, _, _ in fences_of(text)} <= LANGUAGES
    outside = re.sub(r"^```\w+\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"\n\n(    .*)", outside) == []
    assert "```" not in outside


def test_what_stays_is_on_a_page() -> None:
    lines = [line for page in PAGES for one in blocks_of(page) for line in one.commands.splitlines()]
    for command in STAYS:
        assert any(line.startswith(command) for line in lines), command


def test_a_terminal_keeps_its_directory_and_fills_in_what_the_reader_must(tmp_path: Path) -> None:
    with Terminal(BASH, {"<somewhere>": str(tmp_path)}) as terminal:
        terminal.run(block("cd <somewhere>    # a comment\nname=van7\n"))
        assert terminal.run(block('echo "$name in $PWD"\n')) == f"van7 in {tmp_path}\n"
        assert terminal.run(block("cat << 'END'\nmore\nEND\n")) == "more\n"


@pytest.mark.parametrize(
    "failing", ["false\necho on\n", "false | true\n", "no-such-command\n", "exit 0\n", "cat <\n"]
)
def test_a_command_that_fails_fails_its_block_by_page_and_line(failing: str) -> None:
    with Terminal(BASH, {}) as terminal, pytest.raises(AssertionError, match=r"page\.md, line 1"):
        terminal.run(block(failing))


def test_a_command_that_does_not_end_fails_its_block() -> None:
    with Terminal(BASH, {}) as terminal, pytest.raises(AssertionError, match="did not end"):
        terminal.run(block("sleep 2\n"), 0.2)


def test_what_stays_is_waited_for_and_interrupted_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "serves"
    program.write_text(
        f"trap 'echo interrupted > {tmp_path}/how; exit' INT\necho up\nwhile :; do sleep 0.1; done\n"
    )
    monkeypatch.setitem(STAYS, f"bash {program}", "up")
    with Terminal(BASH, {}) as terminal:
        assert terminal.run(block(f"bash {program} --port 1  # goes on\n")) == "up\n"
        assert not (tmp_path / "how").exists()
    assert (tmp_path / "how").read_text() == "interrupted\n"


def test_what_should_stay_and_ends_fails_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAYS, "echo", "never")
    with Terminal(BASH, {}) as terminal, pytest.raises(AssertionError, match="it ended"):
        terminal.run(block("echo port in use\n"))


def test_the_example_of_the_library_reads_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((_, example, _),) = (one for one in fences_of((ROOT / "docs/logs.md").read_text()) if one[0] == "python")
    monkeypatch.chdir(tmp_path)
    Path("drive.log").write_text("(1736035200.000000) can0 7E8#03410D32\nnothing\n")
    exec(compile(example, "docs/logs.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[:3] == ["1 ['can0']", "1", "1"]
