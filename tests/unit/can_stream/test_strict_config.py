"""A configuration file is checked whole, and every message names its place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from msgspec import Meta

from can_stream.strict_config import MAX_FILE_BYTES, ConfigError, check, load


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    not_supported: ClassVar[frozenset[str]] = frozenset({"spool"})

    name: Annotated[str, Meta(pattern=r"^[a-z]+$", description="lower-case letters")]
    rate: Annotated[int, Meta(ge=1, le=10)] | None = None
    kind: Literal["can", "fd"] = "can"
    labels: dict[str, int] = {}
    weights: list[float] = []
    low: int = 0
    high: int = 9

    def problems(self) -> Iterable[tuple[str, str]]:
        if self.low > self.high:
            yield "low", "is above `high`"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ports: Annotated[list[Port], Meta(min_length=1, max_length=3)]
    main: Port | None = None
    timeout_seconds: float = 1.0
    verbose: bool = False
    renamed: Annotated[int, Meta(ge=0)] = msgspec.field(default=0, name="other-name")


def problems_of(document: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        check(document, Config)
    return dict(caught.value.problems)


def test_a_good_document_becomes_the_struct() -> None:
    document = {
        "ports": [{"name": "a", "rate": 3}],
        "timeout_seconds": 2,
        "other-name": 7,
        "main": {"name": "b"},
    }
    assert check(document, Config) == Config([Port("a", 3)], Port("b"), 2.0, renamed=7)


@pytest.mark.parametrize(
    ("document", "key", "reason"),
    [
        ({}, "ports", "is required"),
        ({"ports": []}, "ports", "has 0 entries, at least 1 is needed"),
        ({"ports": [{"name": "a"}] * 4}, "ports", "has 4 entries, at most 3 are allowed"),
        ({"ports": {"name": "a"}}, "ports", "expected an array, got a table"),
        ({"ports": [3]}, "ports[0]", "expected a table, got an integer"),
        ({"ports": [{"name": "a"}, {"name": "b", "rate": 11}]}, "ports[1].rate", "expected an integer <= 10"),
        ({"ports": [{"name": "a", "rate": "5"}]}, "ports[0].rate", "expected an integer, got a string"),
        ({"ports": [{"name": "a", "rate": 5.0}]}, "ports[0].rate", "expected an integer, got a number"),
        ({"ports": [{"name": "A"}]}, "ports[0].name", "expected lower-case letters"),
        ({"ports": [{"name": "a", "kind": "can fd"}]}, "ports[0].kind", 'expected one of "can", "fd"'),
        ({"ports": [{"name": "a", "rat": 1}]}, "ports[0].rat", "unknown key, did you mean `rate`?"),
        ({"ports": [{"name": "a", "zzz": 1}]}, "ports[0].zzz", "unknown key"),
        ({"ports": [{"name": "a", "spool": {}}]}, "ports[0].spool", "is not supported by this version yet"),
        ({"ports": [{"name": "a", "low": 10}]}, "ports[0].low", "is above `high`"),
        (
            {"ports": [{"name": "a", "weights": [1, "x"]}]},
            "ports[0].weights[1]",
            "expected a number, got a string",
        ),
        ({"ports": [{"name": "a"}], "main": {}}, "main.name", "is required"),
        ({"ports": [{"name": "a"}], "verbose": 1}, "verbose", "expected true or false, got an integer"),
        (
            {"ports": [{"name": "a"}], "timeout_seconds": float("nan")},
            "timeout_seconds",
            "must be a finite number",
        ),
        ({"ports": [{"name": "a"}], "timeout_seconds": 10**400}, "timeout_seconds", "number out of range"),
        ({"ports": [{"name": "a"}], "other-name": -1}, "other-name", "expected an integer >= 0"),
        ({"ports": [{"name": "a"}], "renamed": 1}, "renamed", "unknown key"),
        (
            {"ports": [{"name": "a"}], "rate": 3},
            "rate",
            "unknown key, it belongs below `[[ports]]` or `[main]`",
        ),
        ({"ports": [{"name": "a"}], "a key\n": 1}, '"a key\\n"', "unknown key"),
    ],
)
def test_each_problem_names_its_key(document: dict[str, Any], key: str, reason: str) -> None:
    assert problems_of(document) == {key: reason}


def test_all_problems_come_at_once_those_between_fields_too() -> None:
    found = problems_of(
        {
            "ports": [{"name": "a", "rate": 0, "low": 10}, {"nam": "b"}],
            "verbose": "yes",
            "colour": "red",
        }
    )
    assert set(found) == {
        "colour",
        "ports[0].rate",
        "ports[0].low",
        "ports[1].nam",
        "ports[1].name",
        "verbose",
    }


def test_a_problem_between_fields_is_not_told_of_a_field_that_failed_itself() -> None:
    assert set(problems_of({"ports": [{"name": "a", "low": "x", "high": -1}]})) == {"ports[0].low"}


def test_a_file_full_of_mistakes_is_summed_up() -> None:
    with pytest.raises(ConfigError) as caught:
        check({"ports": [{"name": "a"}], **{f"x{number}": 1 for number in range(130)}}, Config)
    assert len(caught.value.problems) == 101
    assert str(caught.value).endswith("and 30 more problems")


def config_file(directory: Path, content: bytes) -> Path:
    path = directory / "server.toml"
    path.write_bytes(content)
    return path


def test_load_reads_the_file(tmp_path: Path) -> None:
    path = config_file(tmp_path, b'verbose = true\n[[ports]]\nname = "a"\n')
    assert load(path, Config) == Config([Port("a")], verbose=True)


def test_the_text_has_one_line_per_problem_with_the_file_name(tmp_path: Path) -> None:
    path = config_file(tmp_path, b'x = 1\n[[ports]]\nname = "a"\nrate = 77\n')
    with pytest.raises(ConfigError) as caught:
        load(path, Config)
    assert str(caught.value).splitlines() == [
        f"{path}: x: unknown key",
        f"{path}: ports[0].rate: expected an integer <= 10",
    ]
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("content", "key", "reason"),
    [
        (b"a = 1\nb = = 2\n", "line 2, column 5", "Invalid value"),
        (b"a = [\n1,\n", "end of document", "Invalid value"),
        (b"a = 1\nb = 'caf\xe9'\n", "line 2, column 9", "is not UTF-8 text"),
        (b"a = " + b"[" * 5000, "", "is nested too deeply"),
        (b"#" * (MAX_FILE_BYTES + 1), "", f"is larger than {MAX_FILE_BYTES} bytes"),
    ],
)
def test_what_is_no_toml_is_told_by_line_and_column(
    tmp_path: Path, content: bytes, key: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config_file(tmp_path, content), Config)
    assert caught.value.problems == [(key, reason)]


def test_an_integer_of_five_thousand_digits_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(config_file(tmp_path, b"a = " + b"1" * 5000), Config)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "absent.toml", Config)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, Config)
