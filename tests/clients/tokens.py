"""ccxt and python-binance where tokens are checked: the token is the API key of REST, and streams have it in a header or the URL."""

import asyncio
import os

import ccxt.pro
from binance import AsyncClient, BinanceSocketManager
from binance.exceptions import BinanceAPIException

from acceptance import HTTP, WS, Klines, run

AsyncClient.API_URL = HTTP + "/api"
BinanceSocketManager.STREAM_URL = WS + "/"
TOKEN = os.environ["KLINECAST_TOKEN"]
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def python_binance():
    client = await AsyncClient.create(api_key=TOKEN)
    try:
        assert len(await client.get_klines(symbol="BTCUSDT", interval="1s", limit=2)) > 0
        manager = BinanceSocketManager(client)
        # The URL: python-binance puts the names of streams behind `?streams=`.
        async with manager.multiplex_socket([f"btcusdt@kline_1s&token={TOKEN}"]) as socket:
            assert (await socket.recv())["stream"] == "btcusdt@kline_1s"
        manager.ws_kwargs = {"additional_headers": BEARER}
        klines = Klines()
        async with manager.kline_socket("ETHUSDT", interval="1s") as socket:
            while not klines.take((await socket.recv())["k"]):
                pass
    finally:
        await client.close_connection()


async def refused():
    for key, code in [(None, -1002), ("nonsense", -2015)]:
        client = await AsyncClient.create(api_key=key)
        try:
            await client.get_klines(symbol="BTCUSDT", interval="1s", limit=2)
            raise AssertionError(f"{key} was accepted")
        except BinanceAPIException as error:
            assert error.code == code, error
        finally:
            await client.close_connection()


async def ccxt_pro():
    exchange = ccxt.pro.binance({"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = HTTP + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = WS + "/ws"
    exchange.headers = {"X-MBX-APIKEY": TOKEN}
    exchange.options["ws"] = {"options": {"headers": BEARER}}
    try:
        assert len(await exchange.fetch_ohlcv("BTC/USDT", "1s", limit=2)) > 0
        assert len(await exchange.watch_ohlcv("BTC/USDT", "1s")) > 0
    finally:
        await exchange.close()


async def main():
    await asyncio.gather(python_binance(), refused(), ccxt_pro())


run(main, "clients with tokens")
