#!/usr/bin/env python3
"""Counts the closed bars of the journal against the trades of exchange-sim, with none of Klinecast's code.

    scripts/count-bars.py NATS_URL SIM_URL [STREAM]

Reads every message of the stream (JOURNAL) with nats-py, folds the trades of the simulator into bars
itself, and prints one line of JSON. The exit code is 1 if a bar differs from its trades, an interval
between the first and the last bar of a topic has no bar, or a revision is there twice with other content.
"""

import asyncio
import json
import sys
import urllib.parse
import urllib.request
from bisect import bisect_left
from collections import defaultdict
from decimal import Decimal, localcontext

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

PAGE = 500
TRADES = 20_000
# What may differ between two publications of one revision: who published it, and when.
STAMPS = ("seq", "epoch", "published_us", "received_us", "skipped")


async def read(url, stream):
    """Every bar of the stream, in its order."""
    client = await nats.connect(url.split(","))
    jetstream = client.jetstream()
    last = (await jetstream.stream_info(stream)).state.last_seq
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, mem_storage=True)
    consumer = await jetstream.pull_subscribe(f"{stream.lower()}.>", stream=stream, config=config)
    bars, at = [], 0
    while at < last:
        for message in await consumer.fetch(PAGE, timeout=20):
            bars.append(json.loads(message.data))
            at = message.metadata.sequence.stream
    await client.close()
    return bars


def trades_of(sim, exchange, symbol):
    """The trades of an instrument as (event_ms, id, price, quantity, is taker's purchase), in order."""
    native = symbol.split(":")[-1]
    query = {"venue": exchange, "symbol": native.replace("-", "") if exchange == "binance" else native, "limit": TRADES}
    trades, from_id = [], 0
    while True:
        text = urllib.parse.urlencode({**query, "from_id": from_id})
        with urllib.request.urlopen(f"{sim}/sim/trades?{text}", timeout=20) as answer:
            page = json.load(answer)
        for row in page["trades"]:
            price, quantity = Decimal(row["price"]), Decimal(row["quantity"])
            trades.append((row["event_ms"], row["id"], price, quantity, row["side"].lower() == "buy"))
        if len(page["trades"]) < TRADES:
            return sorted(trades)
        from_id = page["next_id"]


def differs(bar, inside, before):
    """Why the bar is not that of these trades, or None."""
    quality = bar["quality"]
    if not inside and quality != "filled":
        return f"says {quality} without a trade"
    if inside and quality == "filled":
        return "says that nobody traded"
    if inside:
        prices = [price for _, _, price, _, _ in inside]
        expected = {
            "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
            "volume": sum(quantity for _, _, _, quantity, _ in inside),
            "quote_volume": sum(price * quantity for _, _, price, quantity, _ in inside),
            "taker_buy_volume": sum(quantity for _, _, _, quantity, buys in inside if buys),
            "count": len(inside),
            "first_id": min(id for _, id, *_ in inside), "last_id": max(id for _, id, *_ in inside),
        }
    else:
        expected = dict.fromkeys(("open", "high", "low", "close"), before[2]) | {"volume": 0, "count": 0}
    for name, value in expected.items():
        if Decimal(bar[name]) != value:
            return f"{name} is {bar[name]} and should be {value}"
    return None


def check(bars, sim):
    wrong, first, effective = [], {}, defaultdict(dict)
    for bar in bars:
        key = (bar["topic"], bar["start_ms"], bar["rev"])
        content = {name: value for name, value in bar.items() if name not in STAMPS}
        if first.setdefault(key, content) != content:
            wrong.append(f"{key} is there twice with other content")
        held = effective[bar["topic"]].get(bar["start_ms"])
        standing = lambda it: (it["epoch"], it["rev"], it["seq"])
        if held is None or standing(held) <= standing(bar):
            effective[bar["topic"]][bar["start_ms"]] = bar
    trades = {}
    equal = partial = 0
    for topic, by_start in sorted(effective.items()):
        starts, of_topic = sorted(by_start), 0
        width = by_start[starts[0]]["end_ms"] - starts[0]
        wrong += [f"{topic}: no bar of {at}" for at in range(starts[0], starts[-1], width) if at not in by_start]
        some = by_start[starts[0]]
        name = (some["exchange"], some["symbol"])
        if name not in trades:
            trades[name] = trades_of(sim, *name)
        for start in starts:
            bar = by_start[start]
            if bar["quality"] == "partial" and not of_topic:
                partial += 1
                continue
            low, high = (bisect_left(trades[name], (at,)) for at in (start, start + width))
            inside, before = trades[name][low:high], trades[name][max(low - 1, 0):low]
            why = "says gap" if bar["quality"] == "gap" else differs(bar, inside, before[0] if before else None)
            if why:
                wrong.append(f"{topic} of {start}: {why}")
            else:
                of_topic += 1
        equal += of_topic
        if not of_topic:
            wrong.append(f"{topic} has no whole bar")
    report = {"messages": len(bars), "revisions": len(first), "bars": sum(map(len, effective.values())),
              "topics": len(effective), "equal": equal, "partial": partial, "wrong": wrong[:20]}
    print(json.dumps(report))
    return not wrong and equal > 0


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    url, sim, *stream = sys.argv[1:]
    bars = asyncio.run(read(url, *(stream or ["JOURNAL"])))
    with localcontext() as context:
        context.prec = 60
        sys.exit(0 if check(bars, sim) else 1)


main()
