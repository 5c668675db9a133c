"""python-binance with other URLs."""

import asyncio

from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

from acceptance import HTTP, WS, Klines, run

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


async def main():
    client = await AsyncClient.create()
    try:
        assert await client.ping() == {}
        assert (await client.get_server_time())["serverTime"] > 1_600_000_000_000
        info = await client.get_symbol_info("BTCUSDT")
        assert info["filters"][0]["filterType"] == "PRICE_FILTER" and info["status"] == "TRADING", info

        manager = BinanceSocketManager(client)
        await asyncio.gather(closed_kline_equals_its_row(manager), combined_streams_name_themselves(manager))

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
