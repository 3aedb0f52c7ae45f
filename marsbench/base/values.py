"""Plain values of YAML, JSON or a command line, checked and turned into typed dataclasses.

Fields may be text, numbers, booleans, `StrEnum`s, dataclasses, and tuples, lists and mappings of
these, optional or not. Limits are declared with the type: ``Annotated[int, Limit(low=1)]``,
``Annotated[str, Text(longest=200)]``. All problems are collected, not only the first.
"""

import functools
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, TypeVar

from marsbench.base.errors import unknown_name
from marsbench.base.keys import unknown_key

T = TypeVar("T")


class Problem(NamedTuple):
    """An invalid value.

    Attributes:
        path: Dotted key, such as ``optim.lr``, or ``classes.2.name`` for the second item of a list.
        message: The problem in a sentence or two, with the key.
    """

    path: str
    message: str


@dataclass(frozen=True)
class Limit:
    """Limits of a number, None for no limit.

    Attributes:
        low: Smallest value.
        high: Largest value.
        above: Exclusive lower bound.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f" from {self.low:.10g} to {self.high:.10g}"
        low = "" if self.low is None else f" of at least {self.low:g}"
        above = "" if self.above is None else f" above {self.above:g}"
        high = "" if self.high is None else f"{' and' if above else ''} up to {self.high:g}"
        return low + above + high

    def holds(self, value: float) -> bool:
        """Whether a number is within the limits."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )


class NotBlank:
    """Marker for non-blank text: ``Annotated[str, NotBlank]``."""


@dataclass(frozen=True)
class Text:
    """Limits of a text.

    Attributes:
        longest: Largest number of characters.
        form: Regular expression of the whole text; empty for any text.
        wanted: The form in words, for messages.
    """

    longest: int
    form: str = ""
    wanted: str = "text"

    def __str__(self) -> str:
        return f"{self.wanted} of up to {self.longest} characters"

    def holds(self, text: str) -> bool:
        """Whether a text is within the limits, and valid Unicode."""
        is_valid = len(text) <= self.longest and re.search("[\ud800-\udfff]", text) is None
        return is_valid and (not self.form or re.fullmatch(self.form, text) is not None)


def to_plain(values: Any) -> dict[str, Any]:
    """Convert a dataclass, and dataclasses within it, to dictionaries of plain values."""
    return {item.name: _plain(getattr(values, item.name)) for item in fields(values)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value.value if isinstance(value, StrEnum) else value


def keys_of(cls: type, prefix: str = "") -> dict[str, type]:
    """Dotted keys of a dataclass and the types of their values, without None and limits."""
    keys: dict[str, type] = {}
    for name, hint in typing.get_type_hints(cls).items():
        if is_dataclass(hint):
            keys |= keys_of(typing.cast(type, hint), f"{prefix}{name}.")
        else:
            given = [arg for arg in typing.get_args(hint) if arg is not types.NoneType]
            keys[prefix + name] = given[0] if is_union(hint) else hint
    return keys


def build(
    cls: type[T],
    values: Mapping[str, Any],
    problems: list[Problem],
    *,
    strict: bool = False,
    prefix: str = "",
) -> T | None:
    """Build a nested dataclass from plain values.

    Args:
        cls: The dataclass.
        values: Values by field.
        problems: List to append problems to.
        strict: Whether values must have the declared types, as in JSON. By default numbers,
            booleans and null may be text, as on a command line.
        prefix: Prefix of the keys in messages, such as ``"optim."``.

    Returns:
        The dataclass, or None after a problem.
    """
    before = len(problems)
    checked = check(cls, values, problems, strict=strict, prefix=prefix)
    return cls(**checked) if len(problems) == before else None


def check(
    cls: type,
    values: Mapping[str, Any],
    problems: list[Problem],
    *,
    strict: bool = False,
    prefix: str = "",
    omit: Collection[str] = (),
) -> dict[str, Any]:
    """Convert plain values by field, like `build`, and return the valid ones.

    Args:
        cls: The dataclass.
        values: Values by field.
        problems: List to append problems to.
        strict: As in `build`.
        prefix: As in `build`.
        omit: Fields to refuse as unknown keys.

    Returns:
        Converted values by field, without missing and invalid fields.
    """
    hints = {name: hint for name, hint in _hints(cls).items() if name not in omit}
    valid: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in hints:
            remedy = unknown_key(str(key), [k for k in keys_of(cls) if k not in omit]).remedy
            problems.append(Problem(path, f"Unknown key '{path}'. {remedy}".strip()))
            continue
        before = len(problems)
        converted = converter(hints[key], strict)(value, path, problems)
        if len(problems) == before:
            valid[key] = converted
    for item in fields(cls):
        is_required = item.default is MISSING and item.default_factory is MISSING
        if is_required and item.name not in values and item.name not in omit:
            problems.append(Problem(f"{prefix}{item.name}", f"'{prefix}{item.name}' is missing."))
    return valid


Converter = Callable[[Any, str, list[Problem]], Any]
"""Function of a value, its path and the problems; its result is valid if it adds no problem."""


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in fields(cls)}


def is_union(hint: Any) -> bool:
    """Whether a type is a union, such as ``int | None``."""
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


@functools.cache
def converter(hint: Any, strict: bool = False) -> Converter:
    """Build the converter of a type, cached since stores hold thousands of records."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return lambda value, path, problems: value
    if origin is Annotated:
        if typing.is_typeddict(args[1]):
            hints = typing.get_type_hints(args[1], include_extras=True)
            known = {name: converter(inner, strict) for name, inner in hints.items()}
            return _mapping(known, converter(Any), None)
        return _leaf(*_leaf_of(args[0], strict), args[1])
    if is_union(hint):
        inner = converter(next(arg for arg in args if arg is not types.NoneType), strict)
        none = (None,) if strict else (None, "null")
        return lambda value, path, problems: None if value in none else inner(value, path, problems)
    if origin in (tuple, list):
        return _sequence(origin, args, strict)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        leaf = args[1] if args[1] in (str, int, float, bool) else None
        return _mapping({}, converter(args[1], strict), leaf)
    if is_dataclass(hint):
        return _group(typing.cast(type, hint), strict)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    return _leaf(*_leaf_of(hint, strict))


def _wrong(path: str, value: Any, wanted: str) -> Problem:
    return Problem(path, f"'{path}' is {shown(value)}; expected {wanted}.")


def shown(value: Any) -> str:
    """Short form of a value for messages."""
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _leaf(parse: Callable[[Any], Any], wanted: str, limit: Any = None) -> Converter:
    """Build the converter of a scalar type from its parser and limit."""
    if isinstance(limit, Limit):
        wanted += str(limit)

    def convert(value: Any, path: str, problems: list[Problem]) -> Any:
        try:
            parsed = parse(value)
        except (TypeError, ValueError, OverflowError):
            problems.append(_wrong(path, value, wanted))
            return None
        if isinstance(limit, Limit) and not limit.holds(parsed):
            problems.append(_wrong(path, parsed, wanted))
        if isinstance(limit, Text) and not limit.holds(parsed):
            problems.append(_wrong(path, parsed, str(limit)))
        if limit is NotBlank and not parsed.strip():
            problems.append(Problem(path, f"'{path}' is empty."))
        return parsed

    return convert


def _leaf_of(hint: Any, strict: bool) -> tuple[Callable[[Any], Any], str]:
    """Parser of a scalar type, and its name for messages."""
    parse, wanted = {
        bool: (_bool, "true or false"),
        str: (_text, "text"),
        int: (_whole, "a whole number"),
        float: (_number, "a number"),
    }[hint]
    if not strict:
        return parse, wanted
    accepted = {int, float} if hint is float else {hint}
    if hint is str:
        wanted = "text; put numbers and dates in quotes"

    def exact(value: Any) -> Any:
        if type(value) not in accepted:
            raise TypeError
        if hint is float and not _is_in_range(value):
            raise OverflowError
        return value

    return exact, wanted


def _is_in_range(value: float) -> bool:
    """Whether a number can be a float; whole numbers of JSON may be larger."""
    return type(value) is float or abs(value) <= sys.float_info.max


def _bool(value: Any) -> bool:
    if not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
        raise ValueError
    return str(value).lower() == "true"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool | Mapping | list | tuple):
        raise TypeError
    return str(value)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _enum(names: type[StrEnum]) -> Converter:
    known = [member.value for member in names]

    def convert(value: Any, path: str, problems: list[Problem]) -> Any:
        if value in known:
            return names(value)
        error = unknown_name(path, str(value), known)
        problems.append(Problem(path, f"{error.problem} {error.remedy}"))
        return None

    return convert


def _group(cls: type, strict: bool) -> Converter:
    """Build the converter of a nested dataclass."""

    def convert(value: Any, path: str, problems: list[Problem]) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return build(cls, value, problems, strict=strict, prefix=f"{path}.")
        names = ", ".join(keys_of(cls, f"{path}."))
        problems.append(Problem(path, f"'{path}' is a group of keys, not a value: set {names}."))
        return None

    return convert


def _sequence(origin: Any, args: tuple[Any, ...], strict: bool) -> Converter:
    """Build the converter of a list or tuple, of any or fixed length."""
    each = converter(args[0], strict)
    length = len(args) if origin is tuple and args[-1] is not Ellipsis else None

    def convert(value: Any, path: str, problems: list[Problem]) -> Any:
        if not isinstance(value, list | tuple) or length not in (None, len(value)):
            wanted = "a list" if length is None else f"a list of {length} values"
            problems.append(_wrong(path, value, wanted))
            return None
        return origin(each(v, f"{path}.{i}", problems) for i, v in enumerate(value, start=1))

    return convert


def _mapping(known: Mapping[str, Converter], other: Converter, leaf: type | None) -> Converter:
    """Build the converter of a mapping.

    Args:
        known: Converters of keys with a type of their own, as in a `TypedDict`.
        other: Converter of all other values.
        leaf: Type of values that need no conversion.
    """
    plain = frozenset({int, float} if leaf is float else {leaf} - {None})

    def convert(value: Any, path: str, problems: list[Problem]) -> Any:
        if not isinstance(value, Mapping):
            problems.append(_wrong(path, value, "a mapping of names to values"))
            return None
        is_plain = plain and plain.issuperset(map(type, value.values()))
        if is_plain and (leaf is not float or all(map(_is_in_range, value.values()))):
            return dict(value)
        return {
            key: known.get(key, other)(v, f"{path}.{key}", problems) for key, v in value.items()
        }

    return convert
