"""ccxt.pro's coinbaseexchange against the simulator."""

import ccxt.pro

from acceptance import HTTP, WS, check_trades, run


async def main():
    exchange = ccxt.pro.coinbaseexchange()
    exchange.urls["api"]["public"] = HTTP
    exchange.urls["api"]["ws"] = WS
    try:
        markets = await exchange.load_markets()
        assert "BTC/USD" in markets and markets["BTC/USD"]["precision"]["price"] == 0.01
        rows = await exchange.fetch_ohlcv("BTC/USD", "1m", limit=30)
        assert len(rows) >= 29 and rows == sorted(rows)
        trades = await exchange.fetch_trades("BTC/USD", limit=100)
        check_trades(
            "coinbase",
            "BTC-USD",
            # `side` is the maker's.
            [
                (t["id"], t["info"]["price"], t["info"]["size"], {"buy": "sell", "sell": "buy"}[t["info"]["side"]], t["timestamp"])
                for t in sorted(trades, key=lambda trade: int(trade["id"]))
            ],
        )
        assert (await exchange.fetch_ticker("BTC/USD"))["last"] > 0
        assert await exchange.fetch_time() > 1_600_000_000_000

        seen = {}
        while len(seen) < 20:
            for trade in await exchange.watch_trades("BTC/USD"):
                info = trade["info"]
                taker = {"buy": "sell", "sell": "buy"}[info["side"]]
                # `last_match` repeats the trade before the subscription: ids make it one.
                seen[int(trade["id"])] = (trade["id"], info["price"], info["size"], taker, trade["timestamp"])
        check_trades("coinbase", "BTC-USD", [seen[number] for number in sorted(seen)])
        assert (await exchange.watch_ticker("BTC/USD"))["last"] > 0
        # Its watch_order_book wants credentials, so the book comes from REST.
        book = await exchange.fetch_order_book("BTC/USD")
        assert book["bids"][0][0] < book["asks"][0][0]
    finally:
        await exchange.close()


run(main, "ccxt coinbaseexchange")
