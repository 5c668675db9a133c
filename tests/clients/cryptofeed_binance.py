"""cryptofeed's Binance with other URLs: candles."""

import asyncio
import logging
from decimal import Decimal

import cryptofeed.connection
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import CANDLES
from cryptofeed.exchanges import Binance

from acceptance import HTTP, WS, check_row, run

# It refuses ws:// in an endpoint, so it is given wss:// and connects without TLS.
real_connect = cryptofeed.connection.connect
cryptofeed.connection.connect = lambda address, **options: real_connect(address.replace("wss://", "ws://"), **options)
WSS = WS.replace("ws://", "wss://")

# Its handler swallows what feeds and callbacks raise into its log.
logging.basicConfig(level=logging.WARNING)


class Klinecast(Binance):
    websocket_endpoints = [WebsocketEndpoint(WSS)]
    rest_endpoints = [
        RestEndpoint(HTTP, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
    ]


candles = []


async def collect(candle, _received_at):
    candles.append(candle)


async def main():
    handler = FeedHandler({"log": {"filename": "", "level": "WARNING", "disabled": True}, "uvloop": False})
    handler.add_feed(
        Klinecast(
            symbols=["BTC-USDT", "ETH-USDT"],
            channels=[CANDLES],
            candle_closed_only=False,
            callbacks={CANDLES: collect},
        )
    )
    handler.run(start_loop=False, install_signal_handlers=False)
    # A candle of a minute that was open before.
    opened = lambda candle: any(other.start == candle.start and not other.closed for other in candles)
    while not any(candle.closed and opened(candle) for candle in candles):
        await asyncio.sleep(0.05)
    candle = [candle for candle in candles if candle.closed and opened(candle)][-1]
    expected = [candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades]
    row = lambda row: [Decimal(value) for value in row[1:6]] + [row[8]]
    symbol = candle.symbol.replace("-", "")
    await asyncio.to_thread(check_row, symbol, "1m", int(candle.start * 1000), expected, row)
    await handler.stop_async(asyncio.get_running_loop())


run(main, "cryptofeed")
