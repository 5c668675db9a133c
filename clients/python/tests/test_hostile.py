"""Hosts that break the protocol below its messages: nothing is left of them, and nothing spins."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any, List, Set

import pytest

from klinecast import Subscription
from klinecast.backoff import Backoff


async def _handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(
        line.split(": ")[1]
        for line in request.split("\r\n")
        if line.lower().startswith("sec-websocket-key")
    )
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _handshake(reader, writer)
    await reader.read()


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _handshake(reader, writer)
    writer.transport.abort()


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _handshake(reader, writer)
    # The beginning of a frame of 2^62 bytes.
    writer.write(bytes([0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0]))
    await reader.read()


async def _nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9\r\n")
    await reader.read()


@pytest.mark.parametrize("act", [_silent, _resets, _endless, _nonsense])
def test_a_hostile_host_is_left_and_asked_again_and_nothing_of_it_remains(act: Any) -> None:
    async def play() -> None:
        delays: List[float] = []
        open_now: Set[asyncio.StreamWriter] = set()
        enough = asyncio.Event()
        accepted = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal accepted
            accepted += 1
            open_now.add(writer)
            if accepted >= 3:
                enough.set()
            try:
                await act(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                open_now.discard(writer)
                writer.close()

        def note(low: float, high: float) -> float:
            delays.append(high)
            return 0.01

        before = asyncio.all_tasks()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        messages = Subscription(
            f"ws://127.0.0.1:{port}/ws",
            ["kline:1s:BTC-USD"],
            stale_after=0.4,
            open_timeout=60.0,
            backoff=Backoff(note),
        )
        reading = asyncio.create_task(messages.__anext__())
        await enough.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await messages.aclose()
        while open_now or asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
        server.close()
        # One delay before each further attempt, each longer than the one before.
        assert len(delays) >= accepted - 1
        assert delays == sorted(delays) and delays[1] > delays[0]

    asyncio.run(asyncio.wait_for(play(), 90))
