"""What the acceptance scripts share: the port, a deadline, and the simulator's ground truth."""

import asyncio
import json
import sys
import urllib.parse
import urllib.request
from decimal import Decimal

DEADLINE_S = 150


def port():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PORT")
    return int(sys.argv[1])


HTTP = f"http://127.0.0.1:{port()}"
WS = f"ws://127.0.0.1:{port()}"


def get(path, **query):
    """GET a JSON document from the simulator."""
    url = HTTP + path + ("?" + urllib.parse.urlencode(query) if query else "")
    with urllib.request.urlopen(url, timeout=20) as response:
        return json.load(response)


def tape(venue, symbol, from_id, limit=100_000):
    """The trades that the venue really had, by id."""
    answer = get("/sim/trades", venue=venue, symbol=symbol, from_id=from_id, limit=limit)
    return {trade["id"]: trade for trade in answer["trades"]}


def check_trades(venue, symbol, seen, gapless=True):
    """Trades seen by a client, as (id, price, quantity, taker side, time in ms), are those of the tape."""
    assert len(seen) >= 5, f"only {len(seen)} trades"
    real = tape(venue, symbol, min(int(trade[0]) for trade in seen))
    for number, price, quantity, side, event_ms in seen:
        trade = real[int(number)]
        assert Decimal(str(price)) == Decimal(trade["price"]), (price, trade)
        assert Decimal(str(quantity)) == Decimal(trade["quantity"]), (quantity, trade)
        assert side == trade["side"], (side, trade)
        assert int(event_ms) == trade["event_ms"], (event_ms, trade)
    if gapless:
        ids = [int(trade[0]) for trade in seen]
        assert ids == list(range(ids[0], ids[0] + len(ids))), f"not gapless: {ids}"


def run(main, name):
    """Runs the script: exits 0 only if `main` returns within the deadline."""

    async def bounded():
        await asyncio.wait_for(main(), DEADLINE_S)

    try:
        asyncio.run(bounded())
    except TimeoutError:
        sys.exit(f"{name}: not done within {DEADLINE_S} s")
    print(f"{name}: ok")
