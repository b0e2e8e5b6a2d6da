"""A document checked against a msgspec Struct, field by field, so that no problem hides another.

A Struct may say more than its types do:
* `not_supported: ClassVar[frozenset[str]]` names keys that exist but that this version does not act on;
* `required: ClassVar[Mapping[str, str]]` says of a key that must be there what to write;
* `problems(self)` yields (key, reason) for what only several fields together can tell.
A `msgspec.Meta(description=...)` of a field says what is expected in its stead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from can_stream.strict_config.errors import ConfigError, Problem

MAX_PROBLEMS: Final = 100

_StructT = TypeVar("_StructT", bound=msgspec.Struct)
_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_WORDS: Final = {
    "int": "an integer",
    "str": "a string",
    "bool": "true or false",
    "float": "a number",
    "object": "a table",
    "array": "an array",
}
_INVALID: Final = object()


def check(document: Mapping[str, Any], struct_type: type[_StructT]) -> _StructT:
    """`document` as a `struct_type`. Raises ConfigError with all problems, the first hundred in full."""
    problems: list[Problem] = []
    built = _struct(document, struct_type, "", problems)
    if problems:
        hidden = len(problems) - MAX_PROBLEMS
        more = [Problem("", f"and {hidden} more problems")] if hidden > 0 else []
        raise ConfigError(problems[:MAX_PROBLEMS] + more)
    assert isinstance(built, struct_type)
    return built


def _struct(table: object, struct_type: type[msgspec.Struct], at: str, problems: list[Problem]) -> object:
    if not isinstance(table, Mapping):
        problems.append(Problem(at, f"expected a table, got {_word_for(table)}"))
        return _INVALID
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct_type)}
    problems.extend(_unknown_keys(table, struct_type, list(fields), at))
    values: dict[str, object] = {}
    failed = set()
    for key, field in fields.items():
        before = len(problems)
        if key in table:
            values[field.name] = _value(table[key], field.type, _join(at, key), problems)
        elif field.required:
            problems.append(Problem(_join(at, key), _required(struct_type, key)))
        if len(problems) > before:
            failed.add(key)
            values.pop(field.name, None)
    if any(fields[key].required for key in failed):
        return _INVALID
    # Where a field failed, its default stands in for it, so that the cross-field problems of the others
    # are told in the same run.
    built = struct_type(**values)
    problems.extend(
        Problem(_join_path(at, key), reason)
        for key, reason in _cross_field(built)
        if re.split(r"[.\[]", key)[0] not in failed
    )
    return built


def _required(struct_type: type[msgspec.Struct], key: str) -> str:
    says: Mapping[str, str] = getattr(struct_type, "required", {})
    return f"is required: {says[key]}" if key in says else "is required"


def _cross_field(built: msgspec.Struct) -> Iterable[tuple[str, str]]:
    problems = getattr(built, "problems", None)
    return () if problems is None else problems()


def _unknown_keys(
    table: Mapping[str, Any], struct_type: type[msgspec.Struct], known: list[str], at: str
) -> list[Problem]:
    not_supported: frozenset[str] = getattr(struct_type, "not_supported", frozenset())
    found = []
    for key in table:
        if key in not_supported:
            found.append(Problem(_join(at, key), "is not supported by this version yet"))
        elif key not in known:
            import difflib  # noqa: PLC0415 - only a mistake is worth its memory

            near = difflib.get_close_matches(key[:64], known, n=1)
            hint = f", did you mean `{near[0]}`?" if near else ""
            if tables := [table for table, keys in _tables(struct_type) if key in keys]:
                hint = f", it belongs below {' or '.join(tables)}"
            found.append(Problem(_join(at, key), f"unknown key{hint}"))
    return found


def _tables(struct_type: type[msgspec.Struct]) -> Iterable[tuple[str, set[str]]]:
    """The tables of a table, as TOML begins them, and the keys that each of them has."""
    for field in msgspec.structs.fields(struct_type):
        plain, _ = _unwrap(field.type)
        is_list = get_origin(plain) is list
        if is_list:
            plain, _ = _unwrap(get_args(plain)[0])
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            begin = f"[[{field.encode_name}]]" if is_list else f"[{field.encode_name}]"
            yield f"`{begin}`", {inner.encode_name for inner in msgspec.structs.fields(plain)}


def _value(value: object, value_type: Any, at: str, problems: list[Problem]) -> object:
    plain, meta = _unwrap(value_type)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return _struct(value, plain, at, problems)
    if get_origin(plain) is list and isinstance(value, list):
        return _list(value, get_args(plain)[0], meta, at, problems)
    try:
        _refuse_non_finite(value)
        return msgspec.convert(value, value_type, strict=True)
    except msgspec.ValidationError as error:
        choices = get_args(plain) if get_origin(plain) is Literal else ()
        problems.append(_explained(str(error), meta, choices, at))
    except (ValueError, OverflowError, RecursionError) as error:
        problems.append(Problem(at, str(error)))
    return _INVALID


def _list(
    values: list[object], item_type: Any, meta: msgspec.Meta, at: str, problems: list[Problem]
) -> object:
    if meta.max_length is not None and len(values) > meta.max_length:
        problems.append(Problem(at, f"has {len(values)} entries, at most {meta.max_length} are allowed"))
        return _INVALID
    if meta.min_length is not None and len(values) < meta.min_length:
        problems.append(Problem(at, f"has {len(values)} entries, at least {meta.min_length} is needed"))
        return _INVALID
    return [_value(value, item_type, f"{at}[{index}]", problems) for index, value in enumerate(values)]


def _unwrap(value_type: Any) -> tuple[Any, msgspec.Meta]:
    """The type without Annotated and `| None`, and the last Meta around it."""
    meta = msgspec.Meta()
    while True:
        arguments = get_args(value_type)
        if get_origin(value_type) is Annotated:
            meta = next((a for a in reversed(arguments) if isinstance(a, msgspec.Meta)), meta)
            value_type = arguments[0]
        elif get_origin(value_type) in {Union, UnionType} and len(arguments) == 2 and NoneType in arguments:
            value_type = next(a for a in arguments if a is not NoneType)
        else:
            return value_type, meta


def _refuse_non_finite(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            _refuse_non_finite(item)


def _explained(message: str, meta: msgspec.Meta, choices: tuple[object, ...], at: str) -> Problem:
    text, _, place = message.partition(" - at `$")
    if choices:
        return Problem(at, f"expected one of {', '.join(json.dumps(choice) for choice in choices)}")
    if meta.description is not None and not place:
        return Problem(at, f"expected {meta.description}")
    worded = re.sub(r"`([\w |]+)`", lambda found: _in_words(found[1]), text)
    return Problem(at + place.rstrip("`"), worded[:1].lower() + worded[1:])


def _in_words(types: str) -> str:
    """msgspec's `int | null` as a person says it."""
    names = [name for name in types.split(" | ") if name != "null"]
    return " or ".join(_WORDS.get(name, name) for name in names)


def _word_for(value: object) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "str", list: "array"}
    return _WORDS.get(names.get(type(value), ""), type(value).__name__)


def _join(at: str, key: str) -> str:
    shown = key if _BARE_KEY.match(key) else json.dumps(key[:64])
    return _join_path(at, shown)


def _join_path(at: str, path: str) -> str:
    if not at or not path:
        return at or path
    return f"{at}{path}" if path.startswith("[") else f"{at}.{path}"
