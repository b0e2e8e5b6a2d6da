"""Writes `man/edge-agent.1` and `man/stream-server.1` from the help of the commands.

click-man makes a page of each command, thirty in all, without examples and without what commands are for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from can_stream.command_line.listed_group import Listed, ListedGroup  # noqa: E402 - the path above is where it is
from edge_agent.cli.main import main as edge_agent  # noqa: E402
from stream_server.main import main as stream_server  # noqa: E402

PROGRAMS: Final = (edge_agent, stream_server)
STATUS: Final = (
    ("0", "All is well."),
    ("1", "Something is not; one sentence on standard error says what, and what to do about it."),
    ("2", "The command line was wrong, or, of `edge-agent status`, no agent answers."),
    ("130", "Ctrl-C."),
)


def page(program: ListedGroup) -> str:
    """The whole page, without a date: the same text for the same help."""
    name = str(program.name)
    (other,) = (str(one.name) for one in PROGRAMS if one is not program)
    lines = [
        f'.TH {name.upper()} 1 "" can-edge-agent "User Commands"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(str(program.help)[0].lower() + str(program.help)[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(name)}",
        ".I COMMAND",
        "[\\fIARGUMENTS\\fR]",
    ]
    for section in dict.fromkeys(row.section for row in program.listed.values()):
        lines.append(f".SH {_text(section.upper())}")
        for called, row in program.listed.items():
            if row.section == section:
                lines += _command(program, called, row)
    lines.append(".SH EXIT STATUS")
    for status, text in STATUS:
        lines += [".TP", f".B {status}", _text(text)]
    lines += [".SH SEE ALSO", f".BR {_text(other)} (1)"]
    return "\n".join(lines) + "\n"


def _command(program: ListedGroup, called: str, row: Listed) -> Iterator[str]:
    command, context = _found(program, called)
    if isinstance(command, click.Group):  # its commands follow, each with all that is to be said
        return
    yield f".SS {_text(' '.join([context.command_path, *command.collect_usage_pieces(context)]))}"
    for paragraph in _paragraphs(command.help or row.summary):
        yield from (".PP", _text(paragraph))
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and "--help" not in parameter.opts:
            yield from (".TP", f".B {_text(record[0])}", _text(" ".join(record[1].split())))
    yield from (".PP", "For example:", ".PP", ".nf", ".RS")
    yield from (_text(line) for example in row.examples for line in example.splitlines())
    yield from (".RE", ".fi")


def _found(program: ListedGroup, called: str) -> tuple[click.Command, click.Context]:
    command: click.Command | None = program
    context = click.Context(program, info_name=program.name)
    for word in called.split():
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
        assert command is not None
        context = click.Context(command, parent=context, info_name=word)
    assert command is not None
    return command, context


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _text(text: str) -> str:
    """For troff: a backslash, a hyphen and a dot or quote in front are not themselves."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def main() -> None:
    """Writes both."""
    for program in PROGRAMS:
        (ROOT / "man" / f"{program.name}.1").write_text(page(program))


if __name__ == "__main__":
    main()
