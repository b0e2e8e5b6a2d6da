"""Nothing that a user can say or see on the wire is undocumented."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import click
import msgspec
import pytest
from sqlalchemy import MetaData

from can_stream.frames.batches import FrameFlag
from can_stream.protocol import control, lanes_control, relay_control
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import GapReason
from edge_agent.cli.main import main
from stream_server.storage import recording_schema, server_schema

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_CONTEXT: Final = click.Context(main)
COMMANDS: Final = [(name, main.get_command(_CONTEXT, name)) for name in main.list_commands(_CONTEXT)]
MESSAGES: Final = [
    *get_args(control.AgentControlMessage),
    *get_args(control.ServerControlMessage),
    lanes_control.LanesHello,
    lanes_control.LanesWelcome,
    *get_args(relay_control.FromSink),
    *get_args(relay_control.ToSink),
]
PARTS: Final = [
    control.RelaySide,
    relay_control.SinkHello,
    relay_control.Cursor,
    relay_control.Totals,
    relay_control.Direction,
]


def section(text: str, heading: str) -> str:
    """The part of a page below a heading, up to the next of its level."""
    assert heading in text, f"there is no {heading}"
    level = heading.split(" ", 1)[0]
    begin = text.index(heading)
    end = text.find(f"\n{level} ", begin + 1)
    return text[begin : end if end > 0 else len(text)]


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_every_command_and_option_of_the_agent_is_documented(name: str, command: click.Command) -> None:
    if isinstance(command, click.Group):
        for inner, one in command.commands.items():
            test_every_command_and_option_of_the_agent_is_documented(f"{name} {inner}", one)
        return
    page = section((DOCS / "edge-agent.md").read_text(), f"## `edge-agent {name}")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in page


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_every_message_and_its_members_are_documented(message: type[msgspec.Struct]) -> None:
    page = (DOCS / "wire-protocol.md").read_text()
    info = msgspec.inspect.type_info(message)
    assert isinstance(info, msgspec.inspect.StructType)
    assert f"`{info.tag}`" in page or f'"type":"{info.tag}"' in page
    for member in info.fields:
        assert f"`{member.encode_name}`" in page or f'"{member.encode_name}"' in page, member.name


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_member_of_what_the_relay_says_is_documented(part: type[msgspec.Struct]) -> None:
    page = (DOCS / "wire-protocol.md").read_text()
    for member in msgspec.structs.fields(part):
        assert f"`{member.encode_name}`" in page, member.name


def test_every_reason_why_a_frame_is_not_relayed_is_documented_with_its_number() -> None:
    reasons = section((DOCS / "wire-protocol.md").read_text(), "### 9.5")
    for number, word in enumerate(relay_control.NOT_SENT):
        assert f"\n| {number} | `{word}` | " in reasons
    assert f"\n| {len(relay_control.NOT_SENT)} |" not in reasons


def test_every_packet_kind_flag_and_gap_reason_is_documented() -> None:
    page = (DOCS / "wire-protocol.md").read_text()
    for kind in PacketKind:
        assert f"{kind.value} `{kind.name.lower()}`" in page
    frames = section(page, "### 7.2")
    for flag in FrameFlag:
        assert f"\n| {flag.value} | " in frames
    gaps = section(page, "### 7.4")
    for reason in GapReason:
        assert f"\n| {reason.value} | `{reason.where}` | " in gaps


@pytest.mark.parametrize("metadata", [server_schema.metadata, recording_schema.metadata])
def test_every_table_has_a_bound_and_a_rule(metadata: MetaData) -> None:
    page = section((DOCS / "architecture.md").read_text(), "### Tables")
    first_cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    bounded = set(re.findall(r"`(\w+)`", " ".join(first_cells)))
    assert set(metadata.tables) <= bounded


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    for page in DOCS.glob("*.md"):
        assert f"docs/{page.name}" in readme
