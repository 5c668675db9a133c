"""python-binance with other URLs."""

import asyncio
import time

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

from acceptance import HTTP, ROW_DEADLINE_S, WS, Klines, run

AsyncClient.API_URL = HTTP + "/api"
BinanceSocketManager.STREAM_URL = WS + "/"


async def closed_kline_equals_its_row(manager):
    klines = Klines()
    async with manager.kline_socket("ETHUSDT", interval="1s") as socket:
        while True:
            event = await socket.recv()
            assert event["e"] == "kline" and event["s"] == "ETHUSDT", event
            if klines.take(event["k"]):
                break
    await asyncio.to_thread(klines.check, "ETHUSDT", "1s")


async def combined_streams_name_themselves(manager):
    wanted = {"btcusdt@kline_1s", "okx_btcusdt@kline_1m", "btcusd@kline_1h"}
    async with manager.multiplex_socket(sorted(wanted) + ["btcusdt@bookTicker"]) as socket:
        while wanted:
            wanted.discard((await socket.recv())["stream"])


async def aggregates_equal_their_rows(manager, client):
    seen = []
    async with manager.aggtrade_socket("BTCUSDT") as socket:
        while len(seen) < 20:
            event = await socket.recv()
            assert event["e"] == "aggTrade" and event["s"] == "BTCUSDT", event
            seen.append({name: event[name] for name in "apqflTmM"})
    assert all(after["f"] > before["l"] and after["a"] > before["a"] for before, after in zip(seen, seen[1:])), seen
    # history stores trades a moment after the socket has them.
    deadline = time.monotonic() + ROW_DEADLINE_S
    while True:
        rows = {}
        try:
            page = await client.get_aggregate_trades(symbol="BTCUSDT", fromId=seen[0]["a"], limit=1000)
            rows = {row["a"]: row for row in page}
        except BinanceAPIException as error:
            assert error.code == -1000, error
        if all(rows.get(event["a"]) == event for event in seen):
            return
        assert time.monotonic() < deadline, f"REST has {list(rows.values())[:3]}, the socket had {seen[:3]}"
        await asyncio.sleep(0.05)


async def tickers_of_windows_equal_their_rows(manager, client):
    wanted = {"btcusdt@ticker_1h", "ethusdt@ticker_1d", "!ticker_4h@arr"}
    async with manager.multiplex_socket(sorted(wanted) + ["!bookTicker", "btcusdt@ticker_4h"]) as socket:
        deadline = time.monotonic() + ROW_DEADLINE_S
        while True:
            message = await socket.recv()
            wanted.discard(message["stream"])
            event = message["data"]
            if wanted or message["stream"] != "btcusdt@ticker_4h":
                continue
            assert event["e"] == "4hTicker" and event["C"] - event["O"] >= 4 * 3_600_000, event
            # Until the next trade, the row is the same one.
            row = await client.get_symbol_ticker_window(symbol="BTCUSDT", windowSize="4h")
            fields = ("openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "priceChange", "priceChangePercent", "weightedAvgPrice", "openTime", "firstId", "lastId", "count")
            told = dict(zip(fields, (event[name] for name in "ohlcvqpPwOFLn")))
            if told == {name: row[name] for name in fields}:
                return
            assert time.monotonic() < deadline, f"REST has {row}, the socket had {event}"


async def main():
    client = await AsyncClient.create()
    try:
        assert await client.ping() == {}
        assert (await client.get_server_time())["serverTime"] > 1_600_000_000_000
        info = await client.get_symbol_info("BTCUSDT")
        assert info["filters"][0]["filterType"] == "PRICE_FILTER" and info["status"] == "TRADING", info

        manager = BinanceSocketManager(client)
        await asyncio.gather(
            closed_kline_equals_its_row(manager),
            combined_streams_name_themselves(manager),
            aggregates_equal_their_rows(manager, client),
            tickers_of_windows_equal_their_rows(manager, client),
        )

        klines = await client.get_klines(symbol="BTCUSDT", interval="1s", limit=4)
        assert len(klines) == 4 and all(len(row) == 12 for row in klines), klines
        history = [row async for row in await client.get_historical_klines_generator("BTCUSDT", "1s", "1 day ago UTC")]
        assert len(history) >= 4 and all(b[0] - a[0] == 1000 for a, b in zip(history, history[1:])), history
        earliest = (await client.get_klines(symbol="BTCUSDT", interval="1s", startTime=0, limit=1))[0]
        assert earliest[0] <= history[0][0]
        assert float((await client.get_symbol_ticker(symbol="BTCUSDT"))["price"]) > 0
        assert float((await client.get_avg_price(symbol="BTCUSDT"))["price"]) > 0
        window = await client.get_symbol_ticker_window(symbol="BTCUSDT", windowSize="2d")
        assert float(window["weightedAvgPrice"]) > 0 and window["count"] > 0, window
        assert float((await client.v3_get_ticker_trading_day(symbol="BTCUSDT"))["lastPrice"]) > 0
        try:
            await client.get_klines(symbol="NOSUCH", interval="1m")
            raise AssertionError("there is no such symbol")
        except BinanceAPIException as error:
            assert error.code == -1121, error
    finally:
        await client.close_connection()


run(main, "python-binance")
