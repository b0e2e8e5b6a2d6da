"""Who takes more memory than its share, and what is done about it."""

from __future__ import annotations

from stream_server.fleet.shares import Shares


def test_an_agent_may_have_a_quarter_while_there_is_room() -> None:
    shares = Shares(1000)
    assert shares.look({"one": 250, "two": 250, "three": 0}) == ([], [])
    assert shares.over == {}
    assert shares.look({"one": 251, "two": 250}) == (["one"], [])
    assert shares.over == {"one": 250}


def test_it_is_told_once_until_it_is_within_its_share_again() -> None:
    shares = Shares(1000)
    looks = [shares.look({"one": size}).told for size in (300, 300, 10, 300)]
    assert looks == [["one"], [], [], ["one"]]


def test_at_twice_its_share_it_is_cut_and_nobody_else() -> None:
    shares = Shares(1000)
    assert shares.look({"one": 501, "two": 300, "three": 10}) == (["one", "two"], ["one"])


def test_when_the_whole_is_used_up_those_that_hold_anything_have_equal_parts() -> None:
    shares = Shares(1000)
    used = dict.fromkeys("abcdef", 200) | {"small": 10, "none": 0}
    assert shares.look(used).cut == []
    assert shares.over == dict.fromkeys("abcdef", 1000 // 7)
    assert shares.look({"one": 200, "two": 50}, others_bytes=900).told == ["one"]
    assert shares.over == {"one": 50}
