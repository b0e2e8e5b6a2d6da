"""The databases that come along are found by their names, wherever a program stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from can_stream.databases.bundled import bundled, bundled_hint, bundled_names
from can_stream.databases.configured import load_configured


def test_each_is_found_by_its_name() -> None:
    assert bundled_names() == ["demo-vehicle", "j1939", "obd2"]
    for name in bundled_names():
        path = bundled(name)
        assert path is not None
        assert path.read_text("ascii").startswith("VERSION")


@pytest.mark.parametrize(
    "name", ["", "./obd2", "obd2.dbc", "dbc/obd2.dbc", "obd*", "../dbc/obd2", "OBD2", "."]
)
def test_anything_else_is_a_path_of_the_user(name: str) -> None:
    assert bundled(name) is None


@pytest.mark.parametrize("name", ["obd", "odb2", "obd2.dbc", "some/where/obd2.dbc", "j1393", "demo_vehicle"])
def test_a_name_with_a_typo_is_answered_with_the_one_that_was_meant(name: str) -> None:
    assert bundled_hint(name).startswith(", did you mean the database `")


def test_what_is_like_none_of_them_is_answered_with_nothing() -> None:
    assert bundled_hint("/etc/edge-agent/engine.kcd") == ""


def test_a_configured_name_with_a_typo_is_named_beside_what_was_meant(tmp_path: Path) -> None:
    (problem,) = load_configured([str(tmp_path / "obd")]).problems
    assert (
        problem == f"no file matches {tmp_path / 'obd'}, did you mean the database `obd2` that comes along?"
    )
