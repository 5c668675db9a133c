"""docs/asyncapi.json, the classes of this package, and what tests and gateways send are the same."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import MISSING, fields
from typing import Any, Dict, Set

import pytest
from fake_gateway import bar
from samples import alert, quote, ticker, trade
from schema import SCHEMAS, SENT, faults, kinds
from websockets.asyncio.client import connect

from klinecast import Alert, Bar, Boundary, Gap, Quote, Ticker, Trade

URL = os.environ.get("KLINECAST_URL", "")

#: The schema of each class whose fields are those of a message.
CLASSES = {
    "alert": Alert,
    "bar": Bar,
    "boundary": Boundary,
    "gap": Gap,
    "quote": Quote,
    "ticker": Ticker,
    "trade": Trade,
}
_DECIMAL = SCHEMAS["bar"]["properties"]["open"]["pattern"]


def annotation_of(schema: Dict[str, Any]) -> str:
    """Name the Python type of a field."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    plain = [name for name in types if name != "null"]
    if plain == ["integer"]:
        name = "int"
    else:
        assert plain == ["string"], schema
        name = "Decimal" if schema.get("pattern") == _DECIMAL else "str"
    return f"Optional[{name}]" if "null" in types else name


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_a_class_has_the_fields_and_types_of_the_document(kind: str) -> None:
    schema = SCHEMAS[kind]
    documented = {
        # The operation is the class itself.
        name: annotation_of(field)
        for name, field in schema["properties"].items()
        if name != "op"
    }
    known = {field.name: str(field.type) for field in fields(CLASSES[kind])}
    # Bars of the past do not say when they were published.
    documented.pop("published_us" if kind == "boundary" else "", None)
    assert known == documented
    for field in fields(CLASSES[kind]):
        assert (field.default is MISSING) == (field.name in schema["required"]), field.name


def test_the_samples_of_the_tests_are_as_the_document_says() -> None:
    for kind, sample in (
        ("bar", bar(1)),
        ("bar", bar(1, "forming")),
        ("bar", bar(1, past=True, rev=2)),
        ("bar", {"skipped": 3, **bar(5)}),
        ("trade", trade(1)),
        ("trade", trade(1, skipped=3)),
        ("quote", quote(1)),
        ("ticker", ticker(1)),
        ("alert", alert(1)),
        ("systemAlert", alert(1, topic="system:alert:critical:move")),
    ):
        assert kinds(sample) == [kind], faults(SCHEMAS[kind], sample)
    for wrong in ({**bar(1), "open": 5}, {**bar(1), "new": 5}, {}, [], {"op": "ack"}, {**trade(1), "seq": True}):
        assert kinds(wrong) == []


@pytest.mark.skipif(not URL, reason="KLINECAST_URL names no server")
def test_all_that_a_running_gateway_sends_is_as_the_document_says() -> None:
    wanted = {"ack", "bar", "boundary", "error", "feed", "live", "pong", "ticker", "topicList", "trade"}

    async def play() -> None:
        seen: Set[str] = set()
        address = URL.replace("http", "ws", 1).rstrip("/") + "/ws"
        async with connect(address) as socket:
            topics = ["kline:1s:*", "trade:*", "ticker:*", "quote:*", "book:*", "system:>", "boundary:1s"]
            for request in (
                {"op": "sub", "id": 1, "topics": topics},
                {"op": "sub", "id": "a", "topics": ["kline:1m:BTC-USD"], "from": {"last": 3}},
                {"op": "sub", "id": None, "topics": ["btc"]},
                {"op": "list", "id": 2},
                {"op": "ping"},
            ):
                await socket.send(json.dumps(request))
            while not wanted <= seen:
                frame = await socket.recv()
                assert isinstance(frame, str)
                for line in frame.split("\n"):
                    message = json.loads(line)
                    kind = kinds(message)
                    assert len(kind) == 1, (message, [faults(SCHEMAS[each], message) for each in SENT])
                    seen.update(kind)

    asyncio.run(asyncio.wait_for(play(), 90))
