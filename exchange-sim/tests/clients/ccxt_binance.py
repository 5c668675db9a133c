"""ccxt.pro's binance against the simulator."""

import asyncio

import ccxt.pro

from acceptance import HTTP, WS, check_trades, get, run


async def closed_kline_equals_its_row(exchange, symbol, timeframe):
    """The last state that watchOHLCV gave a bar is what REST later says of it."""
    watched = {}
    while True:
        for bar in await exchange.watch_ohlcv(symbol, timeframe):
            watched[bar[0]] = bar
        starts = sorted(watched)
        # The first bar seen may have been joined midway; the last one is still open.
        if len(starts) >= 3 or (timeframe == "1m" and len(starts) >= 2):
            closed = watched[starts[-2]]
            break
    market = exchange.market(symbol)["id"]
    row = get("/api/v3/klines", symbol=market, interval=timeframe, startTime=closed[0], limit=1)[0]
    assert [row[0]] + [float(value) for value in row[1:6]] == closed, (row, closed)


async def trades_are_the_tape(exchange):
    seen = []
    while len(seen) < 20:
        for trade in await exchange.watch_trades("BTC/USDT"):
            seen.append((trade["id"], trade["info"]["p"], trade["info"]["q"], trade["side"], trade["timestamp"]))
    check_trades("binance", "BTCUSDT", seen)


async def main():
    exchange = ccxt.pro.binance({"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = HTTP + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = WS + "/ws"
    try:
        markets = await exchange.load_markets()
        assert "BTC/USDT" in markets and markets["BTC/USDT"]["precision"]["price"] == 0.01

        rows = await exchange.fetch_ohlcv("BTC/USDT", "1s", limit=1000)
        assert len(rows) == 1000 and all(b[0] - a[0] == 1000 for a, b in zip(rows, rows[1:]))
        assert all(low <= min(o, c) and high >= max(o, c) for _, o, high, low, c, _ in rows)
        trades = await exchange.fetch_trades("BTC/USDT", limit=1000)
        assert len(trades) == 1000
        assert (await exchange.fetch_ticker("BTC/USDT"))["last"] > 0
        assert len((await exchange.fetch_order_book("BTC/USDT", 20))["bids"]) == 20
        assert await exchange.fetch_time() > 1_600_000_000_000

        await asyncio.gather(
            trades_are_the_tape(exchange),
            closed_kline_equals_its_row(exchange, "BTC/USDT", "1m"),
            closed_kline_equals_its_row(exchange, "ETH/USDT", "1s"),
        )
        top = (await exchange.watch_bids_asks(["BTC/USDT"]))["BTC/USDT"]
        assert 0 < top["bid"] < top["ask"]
        for _ in range(10):
            book = await exchange.watch_order_book("BTC/USDT")
            assert book["bids"][0][0] < book["asks"][0][0]
        assert (await exchange.watch_ticker("BTC/USDT"))["last"] > 0
        await exchange.un_watch_trades("BTC/USDT")
    finally:
        await exchange.close()


run(main, "ccxt binance")
