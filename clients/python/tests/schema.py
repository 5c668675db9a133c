"""Holds messages against docs/asyncapi.json. It knows the words that this document uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping

DOCUMENT: Dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "docs" / "asyncapi.json").read_text(encoding="utf-8")
)
SCHEMAS: Dict[str, Any] = DOCUMENT["components"]["schemas"]
#: What a gateway sends.
SENT = frozenset(DOCUMENT["components"]["messages"]) - frozenset(
    name
    for name, operation in DOCUMENT["operations"].items()
    if operation["action"] == "receive"
)
_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def kinds(message: Any) -> List[str]:
    """Name the messages of the document that this is; exactly one, if it is right."""
    return [name for name in SENT if not faults(SCHEMAS[name], message)]


def faults(schema: Mapping[str, Any], value: Any, place: str = "") -> List[str]:
    """Say why a value is not as a schema says. A field without a schema is a fault."""
    found: List[str] = []
    for word, wanted in schema.items():
        if word in ("description", "default", "additionalProperties"):
            continue
        if word == "$ref":
            found += faults(SCHEMAS[wanted.rpartition("/")[2]], value, place)
            continue
        if word == "properties":
            for name, of in wanted.items():
                if isinstance(value, dict) and name in value:
                    found += faults(of, value[name], f"{place}.{name}")
            continue
        if word == "items":
            for index, item in enumerate(value if isinstance(value, list) else ()):
                found += faults(wanted, item, f"{place}[{index}]")
            continue
        if not _holds(word, wanted, value):
            found.append(f"{place}: {word} {wanted!r}: {value!r:.80}")
    others = schema.get("additionalProperties", False)
    if "type" in schema and isinstance(value, dict) and others is not True:
        for name in value.keys() - schema.get("properties", {}).keys():
            if isinstance(others, dict):
                found += faults(others, value[name], f"{place}.{name}")
            else:
                found.append(f"{place}.{name} is not documented")
    return found


def _holds(word: str, wanted: Any, value: Any) -> bool:
    if word == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        is_bool = isinstance(value, bool)
        return any(isinstance(value, _TYPES[name]) and is_bool <= (name == "boolean") for name in names)
    if word == "const":
        return bool(value == wanted)
    if word == "enum":
        return value in wanted
    if word == "required":
        return isinstance(value, dict) and all(name in value for name in wanted)
    if word == "pattern":
        return not isinstance(value, str) or re.search(wanted, value) is not None
    if word in ("minimum", "maximum"):
        is_number = isinstance(value, (int, float))
        return not is_number or (value >= wanted if word == "minimum" else value <= wanted)
    if word in ("minItems", "maxItems"):
        is_list = isinstance(value, list)
        return not is_list or (len(value) >= wanted if word == "minItems" else len(value) <= wanted)
    raise AssertionError(f"the word {word!r} is not known")


