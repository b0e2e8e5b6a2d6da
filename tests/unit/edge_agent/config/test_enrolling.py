"""What a remedy prints can be copied: a shell makes of it what `enroll` takes."""

from __future__ import annotations

import shlex

import pytest

from edge_agent.cli.set_up.enroll import enroll
from edge_agent.config.enrolling import enrol_command


@pytest.mark.parametrize("url", ["https://stream.example.com", "http://[::1]:8080/base"])
def test_the_printed_command_is_one_that_enroll_takes(url: str) -> None:
    printed = enrol_command(url, agent_id="van7", token_file="/my place/it's")
    program, name, *options = shlex.split(printed.strip("`"))
    taken = enroll.make_context(name, options).params
    assert (program, name, taken["server"], taken["agent_id"]) == ("edge-agent", "enroll", url, "van7")
    assert str(taken["out"]) == "/my place/it's"
    assert str(taken["token_file"]) == "FILE"


@pytest.mark.parametrize("url", [None, 7, "", "stream.example.com", "https://a b"])
def test_where_the_server_is_not_known_its_place_is_left_open(url: object) -> None:
    assert enrol_command(url) == "`edge-agent enroll --server URL --token-file FILE`"
