"""python-binance against the simulator."""

import asyncio

from binance import AsyncClient, BinanceSocketManager

from acceptance import HTTP, WS, check_trades, get, run

AsyncClient.API_URL = HTTP + "/api"
BinanceSocketManager.STREAM_URL = WS + "/"


async def closed_kline_equals_its_row(manager):
    async with manager.kline_socket("ETHUSDT", interval="1m") as socket:
        while True:
            kline = (await socket.recv())["k"]
            if kline["x"]:
                break
    row = get("/api/v3/klines", symbol="ETHUSDT", interval="1m", startTime=kline["t"], limit=1)[0]
    assert row == [kline[key] for key in "tohlcvTqnVQB"], (row, kline)


async def trades_are_the_tape(manager):
    seen = []
    async with manager.trade_socket("BTCUSDT") as socket:
        while len(seen) < 20:
            event = await socket.recv()
            seen.append((event["t"], event["p"], event["q"], "sell" if event["m"] else "buy", event["T"]))
    check_trades("binance", "BTCUSDT", seen)


async def combined_streams_name_themselves(manager):
    wanted = {"btcusdt@bookTicker", "solusdt@aggTrade", "btcusdt@depth20@100ms", "btcusdt@miniTicker"}
    async with manager.multiplex_socket(sorted(wanted)) as socket:
        while wanted:
            wanted.discard((await socket.recv())["stream"])


async def main():
    client = await AsyncClient.create()
    try:
        assert await client.ping() == {}
        assert (await client.get_server_time())["serverTime"] > 1_600_000_000_000
        info = await client.get_symbol_info("BTCUSDT")
        assert info["filters"][0]["filterType"] == "PRICE_FILTER" and info["status"] == "TRADING"

        klines = await client.get_klines(symbol="BTCUSDT", interval="1m", limit=30)
        assert len(klines) == 30
        earliest = (await client.get_klines(symbol="BTCUSDT", interval="1m", startTime=0, limit=1))[0]
        history = [row async for row in await client.get_historical_klines_generator("BTCUSDT", "1s", "20 minutes ago UTC")]
        assert len(history) > 1000, len(history)
        assert all(b[0] - a[0] == 1000 for a, b in zip(history, history[1:])) and history[0][0] >= earliest[0]

        trades = await client.get_historical_trades(symbol="BTCUSDT", limit=1000)
        again = await client.get_historical_trades(symbol="BTCUSDT", limit=1000, fromId=trades[0]["id"])
        assert again == trades
        aggregates = await client.get_aggregate_trades(symbol="BTCUSDT", limit=500)
        assert all(b["a"] - a["a"] == 1 and b["f"] - a["l"] == 1 for a, b in zip(aggregates, aggregates[1:]))

        manager = BinanceSocketManager(client)
        await asyncio.gather(
            closed_kline_equals_its_row(manager),
            trades_are_the_tape(manager),
            combined_streams_name_themselves(manager),
        )
    finally:
        await client.close_connection()


run(main, "python-binance")
