"""Who takes more memory than its share, and what is done about it."""

from __future__ import annotations

from stream_server.fleet.shares import Holder, Shares

GROUP: Holder = ("group", "one")


def agents(**used: int) -> dict[Holder, int]:
    return {("agent", name): size for name, size in used.items()}


def named(*names: str) -> list[Holder]:
    return [("agent", name) for name in names]


def test_an_agent_may_have_a_quarter_while_there_is_room() -> None:
    shares = Shares(1000)
    assert shares.look(agents(one=250, two=250, three=0)) == ([], [])
    assert shares.over == {}
    assert shares.look(agents(one=251, two=250)) == (named("one"), [])
    assert shares.over == agents(one=250)


def test_a_group_has_a_share_of_its_own_beside_an_agent_of_its_name() -> None:
    shares = Shares(1000)
    assert shares.look(agents(one=250) | {GROUP: 260}) == ([GROUP], [])
    assert shares.over == {GROUP: 250}


def test_it_is_told_once_until_it_is_within_its_share_again() -> None:
    shares = Shares(1000)
    looks = [shares.look(agents(one=size)).told for size in (300, 300, 10, 300)]
    assert looks == [named("one"), [], [], named("one")]


def test_at_twice_its_share_it_is_cut_and_nobody_else() -> None:
    shares = Shares(1000)
    assert shares.look(agents(one=501, two=300, three=10)) == (named("one", "two"), named("one"))


def test_when_the_whole_is_used_up_those_that_hold_anything_have_equal_parts() -> None:
    shares = Shares(1000)
    used = agents(**dict.fromkeys("abcdef", 200), small=10, none=0)
    assert shares.look(used).cut == []
    assert shares.over == dict.fromkeys(named(*"abcdef"), 1000 // 7)
    assert shares.look(agents(one=200, two=50), others_bytes=900).told == named("one")
    assert shares.over == agents(one=50)
