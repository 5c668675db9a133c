"""ccxt.pro's okx against the simulator."""

import asyncio

import ccxt.pro

from acceptance import HTTP, WS, get, run, tape


async def closed_candle_equals_its_row(exchange, timeframe):
    watched = {}
    while len(watched) < 3:
        for bar in await exchange.watch_ohlcv("BTC/USDT", timeframe):
            watched[bar[0]] = bar
    closed = watched[sorted(watched)[-2]]
    rows = get("/api/v5/market/candles", instId="BTC-USDT", bar=timeframe, after=closed[0] + 1, limit=1)["data"]
    assert [int(rows[0][0])] + [float(value) for value in rows[0][1:6]] == closed, (rows, closed)
    assert rows[0][8] == "1", "the candle is not confirmed"


async def trades_are_the_tape(exchange):
    """The trades channel aggregates: each frame names its last trade and how many it stands for."""
    seen = []
    while len(seen) < 20:
        seen += [trade["info"] for trade in await exchange.watch_trades("BTC/USDT")]
    ids = [int(row["tradeId"]) for row in seen]
    assert all(b - a == int(row["count"]) for a, b, row in zip(ids, ids[1:], seen[1:])), "the aggregates leave a gap"
    real = tape("okx", "BTC-USDT", ids[0])
    for row in seen:
        trade = real[int(row["tradeId"])]
        assert (row["px"], row["side"], int(row["ts"])) == (trade["price"], trade["side"], trade["event_ms"])


async def main():
    exchange = ccxt.pro.okx({"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["rest"] = HTTP
    exchange.urls["api"]["ws"] = WS + "/ws/v5"
    try:
        markets = await exchange.load_markets()
        assert "BTC/USDT" in markets
        rows = await exchange.fetch_ohlcv("BTC/USDT", "1m", limit=50)
        assert len(rows) == 50 and all(b[0] - a[0] == 60_000 for a, b in zip(rows, rows[1:]))
        assert len(await exchange.fetch_trades("BTC/USDT", limit=100)) == 100
        assert (await exchange.fetch_ticker("BTC/USDT"))["last"] > 0
        assert await exchange.fetch_time() > 1_600_000_000_000

        await asyncio.gather(trades_are_the_tape(exchange), closed_candle_equals_its_row(exchange, "1s"))
        for _ in range(10):
            book = await exchange.watch_order_book("BTC/USDT")
            assert book["bids"][0][0] < book["asks"][0][0]
        assert (await exchange.watch_ticker("BTC/USDT"))["last"] > 0
    finally:
        await exchange.close()


run(main, "ccxt okx")
