"""Parameters that say what they take, and what was wrong, in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


class Parsed(click.ParamType[Any]):
    """A parameter read by one of our parsers, whose ValueError is the message."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the parser makes of the text; its ValueError is what the user is told."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class FileName(click.Path):
    """A path that shells complete, FILE in every help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)
        self.name = "file"


def is_there(path: Path) -> bool:
    """Whether a file has this name; True, too, where that cannot be told: whoever opens it says why."""
    try:
        return path.exists()
    except OSError:  # no right to look, or a name that is too long
        return True


def number(name: str, least: float, most: float) -> Parsed:
    """A number from `least` to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ValueError(f"{text!r} is no number from {least:g} to {most:g}")
        return value

    return Parsed(name, parse)


def whole_number(name: str, least: int, most: int | None = None) -> Parsed:
    """A whole number from `least` to `most`, or from `least` up."""
    span = f"from {least} up" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        # int() takes digits of any script, and underscores.
        value = int(text) if text.isascii() and text.isdigit() else -1
        if value < least or (most is not None and value > most):
            raise ValueError(f"{text!r} is no whole number {span}")
        return value

    return Parsed(name, parse)
