"""Trades, quotes, tickers and alerts: typed, checked, and each once where the protocol says so."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from typing import Any, Dict, List, Tuple

import pytest
from fake_gateway import Gateway
from samples import alert, quote, ticker, trade
from websockets.asyncio.server import ServerConnection

from klinecast import (
    Alert,
    Client,
    MoveAlert,
    Quote,
    ServiceAlert,
    StaleAlert,
    Subscription,
    Ticker,
    Trade,
)
from klinecast.backoff import Backoff
from klinecast.fields import BadMessage
from klinecast.log_places import LogPlaces
from klinecast.messages import parse
from klinecast.values import parse_trade


def read(message: Dict[str, Any]) -> Any:
    return parse(json.dumps(message))[0]


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 90))


def test_values_have_types_and_exact_numbers() -> None:
    assert read(trade(7, skipped=3)) == parse_trade(trade(7, skipped=3))
    assert read(trade(7)).price == Decimal("61837.63") and read(trade(7)).skipped == 0
    assert isinstance(read(quote(1)), Quote) and read(quote(1)).ask is None
    assert isinstance(read(ticker(1)), Ticker) and read(ticker(1)).count == 412345
    assert type(read(alert(1))) is MoveAlert
    assert type(read(alert(1, type="stale", direction="none"))) is StaleAlert
    # A type of a later version, and a service that has no rule.
    assert type(read(alert(1, type="eclipse"))) is Alert
    service = {"topic": "system:alert:critical:broker_unhealthy", "service": "broker", "why": "disk"}
    assert read(service) == ServiceAlert(service["topic"], "broker", service)
    assert isinstance(read(alert(3, topic="system:alert:critical:move")), MoveAlert)


@pytest.mark.parametrize("sample", [trade, quote, ticker, alert])
def test_a_value_with_a_wrong_field_is_no_value(sample: Any) -> None:
    for field in sample(1):
        for wrong in ({}, [], True, 1.5, 2**53, -(2**60)):
            with pytest.raises(BadMessage):
                read({**sample(1), field: wrong})
    for field, wrong in (
        ("seq", "1"),
        ("epoch", None),
        ("exchange", None),
        ("symbol", 5),
    ):
        with pytest.raises(BadMessage):
            read({**sample(1), field: wrong})
    for price in ("NaN", "1e9", "Infinity", "", " 1", "1_0", "9" * 70, "١"):
        with pytest.raises(BadMessage):
            read(trade(1, price=price))
    for fields in ({"aggressor_side": "both"}, {"skipped": -1}):
        with pytest.raises(BadMessage):
            read(trade(1, **fields))
    with pytest.raises(BadMessage):
        read(alert(1, direction="left"))


def test_each_trade_is_got_or_counted_whatever_a_gateway_repeats_or_leaves_out() -> None:
    for seed in range(40):
        chance = random.Random(seed)
        places = LogPlaces()
        got: List[int] = []
        counted = 0
        newest = 0
        for _ in range(300):
            # A gateway repeats a little, goes on, or leaves some out and may not say so.
            seq = max(1, newest + chance.choice([-3, -1, 0, 1, 1, 1, 2, 9]))
            missing = max(0, seq - newest - 1)
            taken = places.take(parse_trade(trade(seq, skipped=chance.choice([0, missing]))))
            if taken is not None:
                got.append(taken.seq)
                counted += taken.skipped if len(got) > 1 else 0
            newest = max(newest, seq)
        assert got == sorted(set(got)), seed
        assert len(got) + counted == got[-1] - got[0] + 1, seed


def test_places_of_several_epochs_go_into_requests_of_one_epoch_each() -> None:
    places = LogPlaces()
    for topic, exchange, epoch in (
        ("trade:BTC-USDT", "binance", 5),
        ("trade:ETH-USD", "coinbase", 9),
        ("trade:A-USD", "coinbase", 9),
        ("trade:B-USD", "coinbase", 8),
        ("alert:a:C-USD", "coinbase", 9),
    ):
        fields = {"topic": topic, "exchange": exchange, "epoch": epoch}
        assert places.take(read(trade(4, **fields) if "trade" in topic else alert(4, **fields)))
    names = ["trade:BTC-USDT", "trade:COINBASE:ETH-USD", "trade:OKX:BTC-USDT", "trade:*", "alert:a:*"]
    requests = {tuple(request["topics"]): request.get("since") for request in places.requests(names, 100, 400)}
    assert requests == {
        ("trade:BTC-USDT",): {"epoch": 5, "seq": {"trade:BTC-USDT": 4}},
        ("trade:COINBASE:ETH-USD",): {"epoch": 9, "seq": {"trade:ETH-USD": 4}},
        # Of the topics of patterns, those of the epoch that most of them have.
        ("trade:OKX:BTC-USDT", "trade:*", "alert:a:*"): {
            "epoch": 9,
            "seq": {"trade:A-USD": 4, "alert:a:C-USD": 4},
        },
    }
    assert [len(request["topics"]) for request in places.requests(["trade:X-Y"] * 250, 100, 400)] == [100, 100, 50]


def test_after_a_break_trades_and_alerts_go_on_by_number_and_none_comes_twice() -> None:
    async def play() -> None:
        requests: List[Dict[str, Any]] = []

        async def serve(socket: ServerConnection) -> None:
            wanted: List[Dict[str, Any]] = []
            while len(wanted) < 2:
                wanted.append(json.loads(await socket.recv()))
            requests.extend(wanted)
            if len(requests) == 2:
                await socket.send("\n".join(json.dumps(each) for each in (trade(7), alert(2, epoch=3))))
            else:
                lines = (trade(7), trade(8), alert(2, epoch=3), alert(5, epoch=3), trade(1, epoch=6))
                await socket.send("\n".join(json.dumps(each) for each in lines))
            await socket.close(1012)

        async with Gateway() as gateway:
            gateway.answer = serve
            topics = ["trade:BTC-USDT", "alert:btc-5:BTC-USDT"]
            got: List[Tuple[str, int, int, int]] = []
            # Two epochs are two requests; before the first message there is one for each, too.
            places = Subscription(gateway.url, topics, backoff=Backoff(lambda low, high: 0.0))
            places._log_places.take(parse_trade(trade(6)))
            async with places as messages:
                async for message in messages:
                    if isinstance(message, (Trade, Alert)):
                        got.append((message.topic[:5], message.epoch, message.seq, message.skipped))
                    if len(got) == 5:
                        break
        assert got == [("trade", 5, 7, 0), ("alert", 3, 2, 0), ("trade", 5, 8, 0), ("alert", 3, 5, 2), ("trade", 6, 1, 0)]
        assert [request.get("since") for request in requests[2:4]] == [
            {"epoch": 5, "seq": {"trade:BTC-USDT": 7}},
            {"epoch": 3, "seq": {"alert:btc-5:BTC-USDT": 2}},
        ]

    run(play())


def test_each_channel_has_an_iterator_of_its_type() -> None:
    async def play() -> None:
        asked: List[List[str]] = []

        async def serve(socket: ServerConnection) -> None:
            request = json.loads(await socket.recv())
            asked.append(request["topics"])
            lines = [{"op": "ack", "id": request["id"], "topics": request["topics"]}, trade(1), quote(1), ticker(1), alert(1)]
            await socket.send("\n".join(json.dumps(line) for line in lines))
            await socket.wait_closed()

        async with Gateway() as gateway:
            gateway.answer = serve
            async with Client(gateway.url) as client:
                firsts = [
                    await client.trades("BTC-USDT").__anext__(),
                    await client.quotes(["BTC-USDT", "ETH-USDT"]).__anext__(),
                    await client.tickers("*").__anext__(),
                    await client.alerts("btc-5").__anext__(),
                ]
        assert [type(first) for first in firsts] == [Trade, Quote, Ticker, MoveAlert]
        assert asked == [["trade:BTC-USDT"], ["quote:BTC-USDT", "quote:ETH-USDT"], ["ticker:*"], ["alert:btc-5:*"]]

    run(play())
