"""binance-connector with other URLs: /ws and /stream, where it subscribes with frames."""

import asyncio
import json
import queue
import time

from binance.error import ClientError
from binance.spot import Spot
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

from acceptance import HTTP, WS, Klines, run

DEADLINE_S = 60


def closed_kline_equals_its_row(is_combined):
    messages = queue.Queue()
    client = SpotWebsocketStreamClient(
        stream_url=WS, on_message=lambda _, text: messages.put(json.loads(text)), is_combined=is_combined
    )
    try:
        client.kline(symbol="btcusdt", interval="1s", id=7)
        client.list_subscribe(id=1_763_697_600_000)
        answers, klines = {}, Klines()
        deadline = time.monotonic() + DEADLINE_S
        while len(answers) < 2 or klines.closed is None:
            message = messages.get(timeout=max(0, deadline - time.monotonic()))
            if "id" in message:
                answers[message["id"]] = message["result"]
                continue
            assert ("stream" in message) == is_combined, message
            event = message["data"] if is_combined else message
            klines.take(event["k"])
        assert answers == {7: None, 1_763_697_600_000: ["btcusdt@kline_1s"]}, answers
        client.unsubscribe(stream="btcusdt@kline_1s", id=2)
        while messages.get(timeout=max(0, deadline - time.monotonic())).get("id") != 2:
            pass
    finally:
        client.stop()
    klines.check("BTCUSDT", "1s")


def book_ticker_equals_the_stream(client):
    """What REST says is a quote that the stream has said, or says next."""
    messages = queue.Queue()
    stream = SpotWebsocketStreamClient(
        stream_url=WS, on_message=lambda _, text: messages.put(json.loads(text))
    )
    try:
        stream.book_ticker(symbol="btcusdt")
        said, answers = set(), set()
        deadline = time.monotonic() + DEADLINE_S
        while not said & answers:
            event = messages.get(timeout=max(0, deadline - time.monotonic()))
            if "u" in event:
                said.add((event["b"], event["B"], event["a"], event["A"]))
                quote = client.book_ticker("BTCUSDT")
                answers.add((quote["bidPrice"], quote["bidQty"], quote["askPrice"], quote["askQty"]))
    finally:
        stream.stop()


async def main():
    client = Spot(base_url=HTTP)
    assert client.time()["serverTime"] > 1_600_000_000_000
    assert client.exchange_info(symbols=["BTCUSDT", "ETHUSDT"])["symbols"][1]["symbol"] == "ETHUSDT"
    await asyncio.gather(
        asyncio.to_thread(closed_kline_equals_its_row, False),
        asyncio.to_thread(closed_kline_equals_its_row, True),
    )
    rows = client.klines("BTCUSDT", "1s", limit=3)
    assert len(rows) == 3 and rows == sorted(rows), rows
    assert len(client.ticker_24hr(symbol="BTCUSDT")["lastPrice"]) > 0
    day = client.trading_day_ticker(symbols=["BTCUSDT", "ETHUSDT"])
    assert [row["symbol"] for row in day] == ["BTCUSDT", "ETHUSDT"], day
    assert day[0]["openTime"] % 86_400_000 == 0 and day[0]["count"] > 0, day
    window = client.rolling_window_ticker(symbol="BTCUSDT", windowSize="3h", type="MINI")
    assert window["openTime"] % 60_000 == 0 and 0 < window["count"], window
    assert float(window["lowPrice"]) <= float(window["lastPrice"]) <= float(window["highPrice"]), window
    book_ticker_equals_the_stream(client)
    try:
        client.depth("BTCUSDT")
        raise AssertionError("there are no books yet")
    except ClientError as error:
        assert error.status_code == 404 and "book" in error.error_message, error


run(main, "binance-connector")
