"""What the acceptance scripts share: the URLs, the deadline, and the comparison of a kline with its row."""

import asyncio
import json
import os
import sys
import time
import urllib.parse
import urllib.request
from decimal import Decimal

DEADLINE_S = 150
# A row may reach REST a moment after the socket has the kline. A busy machine takes longer.
ROW_DEADLINE_S = 60
# The system has just started.
LISTED_DEADLINE_S = 120

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} HOST:PORT")
HTTP = f"http://{sys.argv[1]}/binance"
WS = f"ws://{sys.argv[1]}/binance"

# The fields of a row, by their names in a kline.
ROW_KEYS = "tohlcvTqnVQB"


def request_of(url):
    """A request with the token, where tokens are checked: it is the API key."""
    token = os.environ.get("KLINECAST_TOKEN")
    return urllib.request.Request(url, headers={"X-MBX-APIKEY": token} if token else {})


def get(path, **query):
    """GET a JSON document."""
    url = HTTP + path + ("?" + urllib.parse.urlencode(query) if query else "")
    with urllib.request.urlopen(request_of(url), timeout=60) as response:
        return json.load(response)


def until_listed(symbols):
    """Waits until these symbols have their first bar: until then they are unknown."""
    deadline = time.monotonic() + LISTED_DEADLINE_S
    while True:
        listed = {symbol["symbol"] for symbol in get("/api/v3/exchangeInfo")["symbols"]}
        if symbols <= listed:
            return
        assert time.monotonic() < deadline, f"listed are {sorted(listed)}"
        time.sleep(0.05)


def check_row(symbol, interval, start_ms, expected, convert=lambda row: row):
    """Waits until the row of a closed bar is what the socket said."""
    deadline = time.monotonic() + ROW_DEADLINE_S
    while True:
        rows = get("/api/v3/klines", symbol=symbol, interval=interval, startTime=start_ms, limit=1)
        row = convert(rows[0]) if rows and rows[0][0] == start_ms else None
        if row == expected:
            return
        assert time.monotonic() < deadline, f"{symbol} {interval}: REST has {row}, the socket had {expected}"
        time.sleep(0.05)


def udf_bar(symbol, interval, start_s):
    """What TradingView's datafeed adapter gets of one bar; None if there is none yet."""
    resolution, width_s = {"1s": ("1S", 1), "1m": ("1", 60)}[interval]
    query = {"symbol": f"BINANCE:{symbol}", "resolution": resolution, "from": start_s, "to": start_s + width_s}
    url = HTTP.removesuffix("/binance") + "/udf/history?" + urllib.parse.urlencode(query | {"countback": 1})
    with urllib.request.urlopen(request_of(url), timeout=60) as response:
        answer = json.load(response, parse_float=Decimal, parse_int=Decimal)
    if answer["s"] != "ok" or answer["t"] != [start_s]:
        return None
    return [answer[key][0] for key in "ohlcv"]


def check_udf_bar(symbol, interval, kline):
    """Waits until the bar for TradingView is what the socket said."""
    expected = [Decimal(kline[key]) for key in "ohlcv"]
    deadline = time.monotonic() + ROW_DEADLINE_S
    while (bar := udf_bar(symbol, interval, kline["t"] // 1000)) != expected:
        assert time.monotonic() < deadline, f"{symbol} {interval}: UDF has {bar}, the socket had {expected}"
        time.sleep(0.05)


class Klines:
    """Collects the klines of a stream until one was open and then closed.

    The first one may be that in which the feed began: it lacks trades, and REST may have the venue's.
    """

    def __init__(self):
        self.first = None
        self.opened = set()
        self.closed = None

    def take(self, kline):
        """Takes a kline of an event; true when there is one that was open and then closed."""
        assert kline["t"] <= kline["T"] and float(kline["l"]) <= float(kline["h"]), kline
        if self.first is None:
            self.first = kline["t"]
        if not kline["x"]:
            self.opened.add(kline["t"])
        elif kline["t"] in self.opened and kline["t"] > self.first:
            self.closed = kline
        return self.closed is not None

    def check(self, symbol, interval):
        """The closed kline is the row that REST gives, and the bar for TradingView."""
        expected = [self.closed[key] for key in ROW_KEYS]
        check_row(symbol, interval, self.closed["t"], expected)
        check_udf_bar(symbol, interval, self.closed)


def run(main, name):
    """Runs the script: exits 0 only if `main` returns within the deadline."""

    async def bounded():
        await asyncio.to_thread(until_listed, {"BTCUSDT", "ETHUSDT"})
        await asyncio.wait_for(main(), DEADLINE_S)

    try:
        asyncio.run(bounded())
    except TimeoutError:
        sys.exit(f"{name}: not done within {DEADLINE_S} s")
    print(f"{name}: ok")
