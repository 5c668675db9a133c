"""Fields of JSON objects, checked: nothing else is believed of a server."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, cast

T = TypeVar("T")

#: As the protocol writes decimals. A number like 1e999999999 would cost its reader the memory.
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_DECIMAL_CHARS_MAX = 64
#: Larger numbers are not exact in every client, so no gateway sends them.
_INTEGER_MAX = 2**53 - 1


class BadMessage(ValueError):
    """A frame or an answer is not as the protocol says."""


def decimal(value: Any) -> Decimal:
    """Read an exact number from its text."""
    if not isinstance(value, str):
        raise BadMessage(f"a decimal text is needed, not {value!r:.60}")
    if len(value) > _DECIMAL_CHARS_MAX or _DECIMAL.fullmatch(value) is None:
        raise BadMessage(f"not a decimal number: {value!r:.60}")
    return Decimal(value)


def integer(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _INTEGER_MAX:
        raise BadMessage(f"a whole number is needed, not {value!r:.60}")
    return value


def count(value: Any) -> int:
    """Read a number of things."""
    if integer(value) < 0:
        raise BadMessage(f"a number of things is needed, not {value!r:.60}")
    return integer(value)


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise BadMessage(f"a text is needed, not {value!r:.60}")
    return value


def list_of(value: Any) -> Optional[List[Any]]:
    """Return a value if it is a list of JSON."""
    items = cast("List[Any]", value)
    return items if isinstance(value, list) else None


def object_of(value: Any) -> Optional[Dict[str, Any]]:
    """Return a value if it is an object of JSON."""
    fields_of = cast("Dict[str, Any]", value)
    return fields_of if isinstance(value, dict) else None


def texts(value: Any) -> Tuple[str, ...]:
    """Read a list of texts, which may be absent."""
    if value is None:
        return ()
    items = list_of(value)
    if items is None:
        raise BadMessage(f"a list is needed, not {value!r:.60}")
    return tuple(text(item) for item in items)


def optional(read: Callable[[Any], T], value: Any) -> Any:
    """Read a value that may be null."""
    return None if value is None else read(value)


#: How a field is read, by its annotation in a data class.
_READERS: Dict[str, Callable[[Any], Any]] = {
    "str": text,
    "int": integer,
    "Decimal": decimal,
    "Optional[str]": lambda value: optional(text, value),
    "Optional[int]": lambda value: optional(integer, value),
    "Optional[Decimal]": lambda value: optional(decimal, value),
}


def reader_of(kind: Type[T]) -> Callable[[Mapping[str, Any]], T]:
    """Make a function that reads the fields of a data class out of a JSON object.

    A field with a default may be absent, and is a number of things.
    """
    table: List[Tuple[str, Callable[[Any], Any], Any]] = []
    for field in fields(kind):  # type: ignore[arg-type]
        has_default = field.default is not MISSING
        read = count if has_default else _READERS[str(field.type)]
        table.append((field.name, read, field.default if has_default else None))

    def read_all(message: Mapping[str, Any]) -> T:
        return kind(**{name: read(message.get(name, default)) for name, read, default in table})

    return read_all
