"""Order books that clients of Binance keep, at every number, against the books that were published.

Usage: binance_books.py HISTORY GATEWAY

It says `followed` once each client has kept some books, reads a line, and ends once each client has kept some more.
"""

import asyncio
import json
import logging
import os
import sys

sys.argv, (_, HISTORY, GATEWAY) = sys.argv[:1] + sys.argv[1:2], sys.argv

import aiohttp
import ccxt.pro
import cryptofeed.connection
from acceptance import HTTP, until_listed
from binance import AsyncClient, BinanceSocketManager
from binance.ws.depthcache import DepthCacheManager
from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import L2_BOOK
from cryptofeed.exchanges import Binance

WS = f"ws://{GATEWAY}/binance"
DEADLINE_S = 180
# Books that each client is to keep before and after the faults.
BOOKS_MIN = 5
# python-binance applies an event to a newer snapshot when numbers are missing: its book is then wrong until the events
# have reached the snapshot.
WRONG_IN_A_ROW_MAX = 10

AsyncClient.API_URL = HTTP + "/api"
BinanceSocketManager.STREAM_URL = WS + "/"
# It refuses ws:// in an endpoint, so it is given wss:// and connects without TLS.
real_connect = cryptofeed.connection.connect
cryptofeed.connection.connect = lambda address, **options: real_connect(address.replace("wss://", "ws://"), **options)
logging.basicConfig(level=logging.ERROR)


class Klinecast(Binance):
    websocket_endpoints = [WebsocketEndpoint(WS.replace("ws://", "wss://"))]
    rest_endpoints = [RestEndpoint(HTTP, routes=Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}"))]


def levels(side):
    return [(float(price), float(quantity)) for price, quantity in side]


class Books:
    """What was published of a book, by number, and what clients kept."""

    def __init__(self):
        self.published = {}
        self.waiting = []
        self.kept = {}
        self.wrong = {}

    async def follow(self):
        async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://{GATEWAY}/ws?topics=book:BTC-USDT") as socket:
            async for message in socket:
                for line in message.data.splitlines():
                    book = json.loads(line)
                    if "seq" in book:
                        # A silent publisher has a number between two publications.
                        number = book["epoch"] + 2 * book["seq"] - (book["reason"] == "silent")
                        self.published[number] = levels(book["bids"]), levels(book["asks"])
                self.compare()

    def take(self, client, number, bids, asks):
        self.waiting.append((client, number, levels(bids), levels(asks)))
        self.compare()

    def compare(self):
        waiting, self.waiting = self.waiting, []
        newest = max(self.published, default=0)
        for client, number, bids, asks in waiting:
            published = self.published.get(number)
            if published is None:
                # It comes, or it was published before this script began or while it lagged.
                if number > newest:
                    self.waiting.append((client, number, bids, asks))
                continue
            if published == (bids, asks):
                self.kept.setdefault(client, set()).add(number)
                self.wrong[client] = 0
                continue
            self.wrong[client] = self.wrong.get(client, 0) + 1
            most = WRONG_IN_A_ROW_MAX if client == "python-binance" else 0
            if self.wrong[client] > most:
                print(f"{client} at {number}: kept {bids[:30]} {asks[:30]}, published {published}", flush=True)
                os._exit(1)

    async def until_kept(self, clients):
        before = {client: len(self.kept.get(client, ())) for client in clients}
        while any(len(self.kept.get(client, ())) < before[client] + BOOKS_MIN for client in clients):
            await asyncio.sleep(0.05)
        print("kept", {client: len(numbers) for client, numbers in self.kept.items()}, flush=True)


async def python_binance(books):
    while True:
        client = await AsyncClient.create()
        try:
            manager = DepthCacheManager(client, "BTCUSDT", ws_interval=100)
            async with manager as socket:
                while True:
                    cache = await asyncio.wait_for(socket.recv(), 20)
                    if cache is not None:
                        books.take("python-binance", manager._last_update_id, cache.get_bids(), cache.get_asks())
        except Exception as error:
            # The book is invalid at the moment.
            print(f"python-binance: {error!r}", flush=True)
            await asyncio.sleep(0.2)
        finally:
            await client.close_connection()


async def ccxt_pro(books):
    exchange = ccxt.pro.binance({"options": {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"]["public"] = HTTP + "/api/v3"
    exchange.urls["api"]["ws"]["spot"] = WS + "/ws"
    try:
        while True:
            try:
                book = await exchange.watch_order_book("BTC/USDT")
                books.take("ccxt", book["nonce"], book["bids"], book["asks"])
            except ccxt.BaseError as error:
                print(f"ccxt: {error!r}"[:300], flush=True)
                await asyncio.sleep(0.2)
    finally:
        await exchange.close()


def cryptofeed_handler(books):
    async def take(book, _received_at):
        sides = book.book.to_dict()
        books.take("cryptofeed", book.sequence_number, sides["bid"].items(), sides["ask"].items())

    handler = FeedHandler({"log": {"filename": "", "level": "ERROR", "disabled": True}, "uvloop": False})
    handler.add_feed(Klinecast(symbols=["BTC-USDT"], channels=[L2_BOOK], callbacks={L2_BOOK: take}, retries=-1))
    handler.run(start_loop=False, install_signal_handlers=False)


async def main():
    await asyncio.to_thread(until_listed, {"BTCUSDT"})
    books = Books()
    tasks = [asyncio.create_task(books.follow())]
    while not books.published:
        await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(task) for task in (python_binance(books), ccxt_pro(books))]
    cryptofeed_handler(books)
    clients = ["python-binance", "ccxt", "cryptofeed"]
    await books.until_kept(clients)
    print("followed", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await books.until_kept(clients)
    print("ok", flush=True)
    os._exit(0)


asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
