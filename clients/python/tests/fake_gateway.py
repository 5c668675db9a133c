"""A gateway with invented bars, that breaks connections as a test wants."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Callable, Dict, List, Optional

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

TOPIC = "kline:1s:BTC-USD"
WIDTH = 1000
FIRST = 1_700_000_000_000


def bar(position: int, state: str = "closed", *, rev: int = 0, past: bool = False) -> Dict[str, Any]:
    """The bar of a second. A revision is known a hundred seconds later."""
    start = FIRST + position * WIDTH
    return {
        "topic": TOPIC,
        "seq": 0 if past else 10_000 + 2 * position + (state == "closed"),
        "epoch": 0 if past else 7,
        "exchange": "coinbase",
        "symbol": "BTC-USD",
        "interval": "1s",
        "start_ms": start,
        "end_ms": start + WIDTH,
        "open": "1.05",
        "high": "1.2",
        "low": "0.96",
        "close": f"1.{position}",
        "volume": "0.05292",
        "quote_volume": "0.0571732",
        "taker_buy_volume": None,
        "taker_buy_quote_volume": None,
        "count": None,
        "first_id": "1",
        "last_id": "2",
        "state": state,
        "rev": rev,
        "quality": "complete",
        "event_ms": start,
        "received_us": start * 1000,
        "published_us": (start + WIDTH + rev * 100_000) * 1000,
    }


class Gateway:
    """Closes a bar every few milliseconds, and answers ``from`` out of what it has closed."""

    def __init__(self, seed: int = 0, *, breaks: float = 0.0, skips: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.breaks = breaks
        self.skips = skips
        self.position = 50
        self.requests: List[Dict[str, Any]] = []
        self.handshakes = 0
        self.answer: Optional[Callable[[ServerConnection], Any]] = None
        self._server: Optional[Server] = None
        self._clock: Optional[asyncio.Task[None]] = None
        self._moved = asyncio.Condition()

    async def __aenter__(self) -> Gateway:
        self._server = await serve(self._session, "127.0.0.1", 0, compression=None)
        self._clock = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None and self._clock is not None
        self._clock.cancel()
        self._server.close(close_connections=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/ws"

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0.002)
            async with self._moved:
                self.position += 1
                self._moved.notify_all()

    async def _session(self, socket: ServerConnection) -> None:
        self.handshakes += 1
        try:
            if self.answer is not None:
                await self.answer(socket)
            else:
                await self._serve(socket)
        except ConnectionClosed:
            pass

    async def _send(self, socket: ServerConnection, *messages: Dict[str, Any]) -> None:
        if self.random.random() < self.breaks:
            if self.random.random() < 0.5:
                await socket.close(self.random.choice([1001, 1012, 4001, 4006]))
            socket.transport.abort()
        await socket.send("\n".join(json.dumps(message) for message in messages))

    async def _serve(self, socket: ServerConnection) -> None:
        asked: "asyncio.Queue[Optional[Dict[str, Any]]]" = asyncio.Queue()

        async def receive() -> None:
            try:
                async for text in socket:
                    request = json.loads(text)
                    self.requests.append(request)
                    await asked.put(request)
            finally:
                await asked.put(None)

        receiver = asyncio.create_task(receive())
        try:
            sent = self.position
            request = await asked.get()
            while request is not None:
                sent = await self._begin(socket, request)
                while asked.empty():
                    sent = await self._follow(socket, sent)
                request = asked.get_nowait()
        finally:
            receiver.cancel()

    async def _follow(self, socket: ServerConnection, sent: int) -> int:
        """Send the bars that closed since. The position that comes next."""
        async with self._moved:
            await self._moved.wait()
            now = self.position
        for position in range(sent, now):
            if self.random.random() < self.skips:
                continue
            message = bar(position)
            if position > sent:
                message = {"skipped": position - sent, **message}
            await self._send(socket, message, bar(position + 1, "forming"))
            sent = position + 1
        return sent

    async def _begin(self, socket: ServerConnection, request: Dict[str, Any]) -> int:
        """Answer a subscription. The position that comes next."""
        ack = {"op": "ack", "id": request["id"], "topics": request["topics"]}
        wanted = request.get("from", {})
        now = self.position
        await self._send(socket, ack)
        if "last" in wanted:
            first = now - wanted["last"]
        elif "token" in wanted:
            first = (int(wanted["token"].split(".")[1]) - FIRST) // WIDTH
        else:
            await self._send(socket, bar(now, "forming"))
            return now
        for at in range(first, now, 7):
            page = [bar(i, past=True) for i in range(at, min(at + 7, now))]
            await self._send(socket, *page)
        end = FIRST + now * WIDTH
        live = {"op": "live", "topic": TOPIC, "recovered": True, "token": f"k1.{end}.{end}"}
        await self._send(socket, live, bar(now, "forming"))
        return now
