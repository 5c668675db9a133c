"""ccxt's binance, REST and pro, with other URLs."""

import asyncio

import ccxt.pro

from acceptance import HTTP, WS, check_row, run


async def closed_kline_equals_its_row(exchange, symbol, timeframe):
    """The last state that watchOHLCV gave a bar is what REST later says of it."""
    watched = {}
    while True:
        for bar in await exchange.watch_ohlcv(symbol, timeframe):
            watched[bar[0]] = bar
        starts = sorted(watched)
        # The last one is still open.
        if len(starts) >= 3 or (timeframe == "1m" and len(starts) >= 2):
            break
    closed = watched[starts[-2]]
    row = lambda row: [row[0]] + [float(value) for value in row[1:6]]
    await asyncio.to_thread(check_row, exchange.market(symbol)["id"], timeframe, closed[0], closed, row)


async def main():
    exchange = ccxt.pro.binance({"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = HTTP + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = WS + "/ws"
    try:
        markets = await exchange.load_markets()
        assert {"BTC/USDT", "ETH/USDT", "BTC/USD", "OKX_BTC/USDT"} <= set(markets), sorted(markets)
        # Klinecast counts the digits of the prices that it has seen: the first ones may end with a zero.
        while markets["BTC/USDT"]["precision"]["price"] != 0.01:
            await asyncio.sleep(0.5)
            markets = await exchange.load_markets(reload=True)
        await asyncio.gather(
            closed_kline_equals_its_row(exchange, "ETH/USDT", "1s"),
            closed_kline_equals_its_row(exchange, "OKX_BTC/USDT", "1s"),
            closed_kline_equals_its_row(exchange, "BTC/USD", "1s"),
            closed_kline_equals_its_row(exchange, "BTC/USDT", "1m"),
        )
        rows = await exchange.fetch_ohlcv("BTC/USDT", "1s", limit=5)
        assert len(rows) == 5 and all(b[0] - a[0] == 1000 for a, b in zip(rows, rows[1:])), rows
        assert all(low <= min(o, c) and high >= max(o, c) for _, o, high, low, c, _ in rows)
        assert len(await exchange.fetch_ohlcv("BTC/USDT", "3m", limit=1)) == 1
        assert (await exchange.fetch_ticker("BTC/USDT"))["last"] > 0
        assert len(await exchange.fetch_tickers(["BTC/USDT", "ETH/USDT"])) == 2
        assert await exchange.fetch_time() > 1_600_000_000_000
        await exchange.un_watch_ohlcv("ETH/USDT", "1s")
        try:
            await exchange.fetch_ohlcv("BTC/USDT", "1y")
            raise AssertionError("there is no such interval")
        except (ccxt.BadRequest, ccxt.ExchangeError):
            pass
    finally:
        await exchange.close()


run(main, "ccxt binance")
