"""Order books that clients keep, level by level and at every number, against the true books, through faults.

It says `restart` when the simulator is to be restarted, and reads a line once it was.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter

import ccxt.pro
import cryptofeed.connection
from binance import AsyncClient, BinanceSocketManager
from binance.ws.depthcache import DepthCacheManager
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK
from cryptofeed.exchanges import Binance
from unicorn_binance_local_depth_cache import BinanceLocalDepthCacheManager
from unicorn_binance_rest_api import BinanceRestApiManager

from acceptance import HTTP, WS, get, run

# Levels of each side that the venue keeps up to date.
DEPTH = 100
# Books that each client is to keep after each fault.
BOOKS_MIN = 5
# python-binance applies an event to a newer snapshot when numbers are missing: its book is then wrong until the events
# have reached the snapshot.
WRONG_IN_A_ROW_MAX = {"python-binance": 10}
FAULTS = [
    {"kind": "book_gap", "count": 3},
    {"kind": "book_duplicate", "count": 3},
    {"kind": "book_late", "count": 4, "delay_ms": 150},
    {"kind": "disconnect"},
]

AsyncClient.API_URL = HTTP + "/api"
BinanceSocketManager.STREAM_URL = WS + "/"
# It refuses ws:// in an endpoint, so it is given wss:// and connects without TLS.
real_connect = cryptofeed.connection.connect
cryptofeed.connection.connect = lambda address, **options: real_connect(address.replace("wss://", "ws://"), **options)
logging.basicConfig(level=logging.CRITICAL)


class SimBinance(Binance):
    websocket_endpoints = [WebsocketEndpoint(WS.replace("ws://", "wss://"))]
    rest_endpoints = [RestEndpoint(HTTP, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))]


class SimRest(BinanceRestApiManager):
    def _init_session(self):
        self.API_URL = HTTP + "/api"
        return super()._init_session()


def levels(side):
    return [(float(price), float(quantity)) for price, quantity, *_ in side][:DEPTH]


def post(path, document):
    request = urllib.request.Request(HTTP + path, data=json.dumps(document).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


class Books:
    """The true books of a symbol by number, and what clients kept."""

    def __init__(self, venue, symbol):
        self.venue, self.symbol = venue, symbol
        self.true = {}
        self.waiting = []
        self.kept = {}
        self.wrong = Counter()
        self.lock = threading.Lock()

    async def follow(self):
        while True:
            try:
                answer = await asyncio.to_thread(get, "/sim/books", venue=self.venue, symbol=self.symbol, depth=DEPTH, limit=20)
            except (OSError, ValueError):
                # The simulator restarts.
                await asyncio.sleep(0.1)
                continue
            with self.lock:
                for book in answer["books"]:
                    sides = levels(book["bids"]), levels(book["asks"])
                    assert self.true.setdefault(book["update_id"], sides) == sides, "one number, two books"
            self.compare()
            await asyncio.sleep(0.1)

    def take(self, client, number, bids, asks):
        """A client has this book. May be called in any thread."""
        with self.lock:
            self.waiting.append((client, number, levels(bids), levels(asks)))

    def compare(self):
        with self.lock:
            waiting, self.waiting = self.waiting, []
            newest = max(self.true, default=0)
            for client, number, bids, asks in waiting:
                true = self.true.get(number)
                if true is None:
                    # It comes, or it was before this script began or while it lagged.
                    if number > newest:
                        self.waiting.append((client, number, bids, asks))
                    continue
                if true == (bids, asks):
                    self.kept.setdefault(client, set()).add(number)
                    self.wrong[client] = 0
                    continue
                self.wrong[client] += 1
                if self.wrong[client] > WRONG_IN_A_ROW_MAX.get(client, 0):
                    for name, have, want in [("bids", bids, true[0]), ("asks", asks, true[1])]:
                        print(f"{client} at {number}: {name} {sorted(set(have) ^ set(want))[:20]} of {len(have)}", flush=True)
                    os._exit(1)

    async def until_kept(self, clients, what):
        newest = max(self.true, default=0)

        def lacking():
            newer = {client: sum(number > newest for number in self.kept.get(client, ())) for client in clients}
            return {client: count for client, count in newer.items() if count < BOOKS_MIN}

        waited_s = 0
        while lacking():
            await asyncio.sleep(0.05)
            waited_s += 0.05
            if waited_s > 30:
                print(f"{what}: {lacking()}", flush=True)
                waited_s = 0
        kept = {client: len(numbers) for client, numbers in self.kept.items()}
        print(f"  {what}: kept {kept}", flush=True)


async def python_binance(books):
    async def leave(manager, client):
        await manager.__aexit__(None, None, None)
        await client.close_connection()

    leaving = []
    while True:
        client = manager = None
        try:
            client = await AsyncClient.create()
            manager = DepthCacheManager(client, "BTCUSDT", ws_interval=100)
            await manager.__aenter__()
            while True:
                cache = await asyncio.wait_for(manager.recv(), 3)
                if not hasattr(cache, "get_bids"):
                    # Its error message: it is to be begun anew.
                    break
                books.take("python-binance", manager._last_update_id, cache.get_bids(), cache.get_asks())
        except Exception as error:
            print(f"    python-binance: {error!r}"[:200], flush=True)
            await asyncio.sleep(0.2)
        if manager is not None:
            # It would go on trying for a minute.
            leaving.append(asyncio.create_task(leave(manager, client)))


async def ccxt_pro(books, name, exchange):
    while True:
        try:
            book = await asyncio.wait_for(exchange.watch_order_book("BTC/USDT"), 10)
            books.take(name, book["nonce"], book["bids"], book["asks"])
        except (ccxt.BaseError, asyncio.TimeoutError) as error:
            print(f"    {name}: {error!r}"[:200], flush=True)
            await asyncio.sleep(0.2)


def cryptofeed_handler(books):
    async def take(book, _received_at):
        sides = book.book.to_dict()
        books.take("cryptofeed", book.sequence_number, sides["bid"].items(), sides["ask"].items())

    handler = FeedHandler({"log": {"filename": "", "level": "CRITICAL", "disabled": True}, "uvloop": False})
    handler.add_feed(SimBinance(symbols=["BTC-USDT"], channels=[L2_BOOK], callbacks={L2_BOOK: take}, retries=-1))
    handler.run(start_loop=False, install_signal_handlers=False)


def unicorn(books):
    """Its cache is kept by threads of its own: a book is taken where they write its number."""

    class Cache(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            if key == "last_update_id" and value is not None and self["is_synchronized"]:
                bids = sorted(self["bids"].items(), key=lambda level: -float(level[0]))
                asks = sorted(self["asks"].items(), key=lambda level: float(level[0]))
                books.take("unicorn", value, bids, asks)

    class Caches(dict):
        def __setitem__(self, key, value):
            super().__setitem__(key, Cache(value))

    manager = BinanceLocalDepthCacheManager(
        exchange="binance.com",
        depth_cache_update_interval=100,
        init_interval=0.2,
        init_time_window=1,
        ubra_manager=SimRest(exchange="binance.com", warn_on_update=False),
        warn_on_update=False,
    )
    manager.ubwa.websocket_base_uri = WS + "/"
    manager.depth_caches = Caches()
    manager.create_depthcache("BTCUSDT")


async def main():
    binance, okx = Books("binance", "BTCUSDT"), Books("okx", "BTC-USDT")
    options = {"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}}
    ccxt_binance, ccxt_okx = ccxt.pro.binance(options), ccxt.pro.okx(options)
    ccxt_binance.urls["api"]["public"] = HTTP + "/api/v3"
    ccxt_binance.urls["api"]["ws"]["spot"] = WS + "/ws"
    ccxt_okx.urls["api"]["rest"] = HTTP
    ccxt_okx.urls["api"]["ws"] = WS + "/ws/v5"
    tasks = [asyncio.create_task(books.follow()) for books in (binance, okx)]
    unicorn(binance)
    tasks += [
        asyncio.create_task(python_binance(binance)),
        asyncio.create_task(ccxt_pro(binance, "ccxt", ccxt_binance)),
        asyncio.create_task(ccxt_pro(okx, "ccxt okx", ccxt_okx)),
    ]
    cryptofeed_handler(binance)

    async def until_kept(what):
        for task in tasks:
            if task.done():
                task.result()
        await binance.until_kept(["python-binance", "ccxt", "cryptofeed", "unicorn"], what)
        await okx.until_kept(["ccxt okx"], what)

    await until_kept("before the faults")
    for fault in FAULTS:
        for books in (binance, okx):
            post("/sim/faults", {**fault, "venue": books.venue} | ({} if fault["kind"] == "disconnect" else {"symbol": books.symbol}))
        while any(not struck["done"] for struck in get("/sim/faults")):
            await asyncio.sleep(0.05)
        await until_kept(json.dumps(fault))
    print("restart", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await until_kept("after the restart")
    print("ok", flush=True)
    # The threads of unicorn do not end by themselves.
    os._exit(0)


try:
    run(main, "books")
except BaseException as error:
    # The threads of unicorn would go on.
    print(error, flush=True)
    os._exit(1)
