"""cryptofeed's Binance and OKX against the simulator; its Coinbase speaks Advanced Trade, which is not simulated."""

import asyncio
import logging
from decimal import Decimal

import cryptofeed.connection
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import CANDLES, L2_BOOK, TICKER, TRADES
from cryptofeed.exchanges import OKX, Binance

from acceptance import HTTP, WS, get, run, tape

# It refuses ws:// in an endpoint, so it is given wss:// and connects without TLS.
real_connect = cryptofeed.connection.connect
cryptofeed.connection.connect = lambda address, **options: real_connect(address.replace("wss://", "ws://"), **options)
WSS = WS.replace("ws://", "wss://")

# Its handler swallows what feeds and callbacks raise into its log.
logging.basicConfig(level=logging.WARNING)


class SimBinance(Binance):
    websocket_endpoints = [WebsocketEndpoint(WSS)]
    rest_endpoints = [
        RestEndpoint(HTTP, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))
    ]


class SimOKX(OKX):
    websocket_endpoints = [WebsocketEndpoint(WSS + "/ws/v5/public")]
    rest_endpoints = [
        RestEndpoint(
            HTTP,
            routes=Routes(["/api/v5/public/instruments?instType=SPOT", "/api/v5/public/instruments?instType=SWAP"]),
        )
    ]


received = {}


def collect(key):
    async def callback(event, _received_at):
        received.setdefault(key, []).append(event)

    return callback


async def until(condition, what):
    while not condition():
        await asyncio.sleep(0.05)
    print(f"  {what}")


def closed(key):
    return [candle for candle in received.get(key, []) if candle.closed]


async def main():
    handler = FeedHandler({"log": {"filename": "", "level": "WARNING", "disabled": True}, "uvloop": False})
    handler.add_feed(
        SimBinance(
            symbols=["BTC-USDT", "ETH-USDT"],
            channels=[TRADES, TICKER, CANDLES, L2_BOOK],
            candle_closed_only=True,
            callbacks={
                TRADES: collect("binance trades"),
                TICKER: collect("binance ticker"),
                CANDLES: collect("binance candles"),
                L2_BOOK: collect("binance book"),
            },
        )
    )
    handler.add_feed(
        SimOKX(
            symbols=["BTC-USDT"],
            channels=[TRADES, TICKER],
            callbacks={TRADES: collect("okx trades"), TICKER: collect("okx ticker")},
        )
    )
    handler.run(start_loop=False, install_signal_handlers=False)

    def has(key, count):
        return lambda: len(received.get(key, [])) >= count

    for key, count in [
        ("binance trades", 10),
        ("binance ticker", 5),
        ("binance book", 5),
        ("okx trades", 10),
        ("okx ticker", 5),
    ]:
        await until(has(key, count), key)
    await until(lambda: closed("binance candles"), "binance candles")

    # Its TRADES are aggregates, numbered on their own: every one follows the one before.
    ids = [int(trade.id) for trade in received["binance trades"] if trade.symbol == "BTC-USDT"]
    assert ids == list(range(ids[0], ids[0] + len(ids))), ids
    real = tape("okx", "BTC-USDT", int(received["okx trades"][0].id))
    for trade in received["okx trades"]:
        expected = real[int(trade.id)]
        assert (trade.price, trade.side) == (Decimal(expected["price"]), expected["side"])
        assert round(trade.timestamp * 1000) == expected["event_ms"]
    candle = closed("binance candles")[-1]
    row = get(
        "/api/v3/klines", symbol=candle.symbol.replace("-", ""), interval="1m", startTime=int(candle.start * 1000), limit=1
    )[0]
    assert [candle.open, candle.high, candle.low, candle.close, candle.volume] == [Decimal(value) for value in row[1:6]]
    assert candle.trades == row[8]
    await handler.stop_async(asyncio.get_running_loop())


run(main, "cryptofeed")
