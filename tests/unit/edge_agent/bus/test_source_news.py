"""Each change of a source is told once, in order, also one that was over before anybody looked."""

from __future__ import annotations

from edge_agent.bus.source_news import SourceNews
from edge_agent.state import State, StatusCode

OPENING = State(StatusCode.STARTING, "opening")
READING = State(StatusCode.OK, "reading")
FAILED = State(StatusCode.FAILED, "unplugged", "unplugged")
HANGS = State(StatusCode.FAILED, "does not return", "dead_driver")


def test_what_was_said_is_told_in_order_and_nothing_twice() -> None:
    told: list[State] = []
    news = SourceNews(OPENING, told.append)
    assert news.state == OPENING
    news.tell(None)
    for state in (READING, FAILED, READING, READING):
        news.say(state)
    news.tell(None)
    news.tell(None)
    assert told == [OPENING, READING, FAILED, READING]
    assert news.state == READING


def test_what_is_worse_stands_in_for_the_last_until_it_is_over() -> None:
    told: list[State] = []
    news = SourceNews(OPENING, told.append)
    news.say(READING)
    news.tell(HANGS)
    news.tell(HANGS)
    assert news.state == HANGS
    news.tell(None)
    assert told == [READING, HANGS, READING]
