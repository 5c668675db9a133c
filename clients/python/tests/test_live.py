"""Against a running Klinecast with simulated venues; KLINECAST_URL says where."""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
from itertools import dropwhile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from klinecast import Bar, Client, HistoryError, Live, RequestRefused
from klinecast.sync import Client as SyncClient

URL = os.environ.get("KLINECAST_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="KLINECAST_URL names no server")
EXAMPLES = Path(__file__).parent.parent / "examples"


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 120))


async def until_filled(client: Client, symbol: str, width: str, bars: int) -> None:
    """Wait until a server that has just started has asked its venues for the past."""
    while True:
        try:
            if len(await client.history(symbol, width, limit=bars)) >= bars:
                return
        except HistoryError:
            pass
        await asyncio.sleep(0.2)


def test_the_past_runs_into_the_present_without_a_hole() -> None:
    async def play() -> None:
        async with Client(URL) as client:
            await until_filled(client, "BTC-USD", "1s", 30)
            by_start: Dict[int, Bar] = {}
            async for bar in client.bars("BTC-USD", "1s", last=30):
                by_start[bar.start_ms] = bar
                live = [bar for bar in by_start.values() if bar.is_closed and bar.seq > 0]
                if len(live) > 2:
                    break
            starts = sorted(by_start)
            width = 1000
            assert starts == list(range(starts[0], starts[-1] + width, width))
            assert len(starts) > 30

    run(play())


def test_closed_bars_of_the_socket_equal_those_of_history() -> None:
    async def play() -> None:
        async with Client(URL) as client:
            closed: List[Bar] = []
            async for bar in client.bars(["BTC-USD", "ETH-USDT"], "1s", closed_only=True):
                closed.append(bar)
                if len(closed) == 6:
                    break
            for bar in closed:
                stored: List[Bar] = []
                while not stored:
                    stored = await client.history(
                        bar.symbol.rpartition(":")[2],
                        "1s",
                        start=bar.start_ms,
                        end=bar.end_ms,
                        exchange=bar.exchange,
                    )
                if stored[0].rev == bar.rev:
                    for name in ("open", "high", "low", "close", "volume", "count", "last_id"):
                        assert getattr(stored[0], name) == getattr(bar, name), name

    run(play())


def test_a_width_that_nobody_publishes_has_a_past_and_a_present() -> None:
    async def play() -> None:
        async with Client(URL) as client:
            topic = "kline:7s:BTC-USD"
            await until_filled(client, "BTC-USD", "7s", 5)
            async with client.subscribe(topic, start={"last": 5}) as messages:
                bars: List[Bar] = []
                is_live = False
                async for message in messages:
                    is_live = is_live or isinstance(message, Live)
                    if isinstance(message, Bar):
                        bars.append(message)
                        assert message.end_ms - message.start_ms == 7000
                        if is_live and message.is_closed and message.seq > 0:
                            break
            assert is_live and len(bars) > 5

    run(play())


def test_patterns_bring_feeds_and_bars_of_all_symbols() -> None:
    async def play() -> None:
        async with Client(URL) as client:
            kinds = set()
            async for message in client.subscribe(["kline:1s:*", "system:feed:*"]):
                kinds.add(type(message).__name__)
                if {"Ack", "Bar", "Feed"} <= kinds:
                    return

    run(play())


def test_history_is_whole_and_in_order() -> None:
    async def wait() -> None:
        async with Client(URL) as client:
            await until_filled(client, "BTC-USD", "1m", 50)

    run(wait())
    with SyncClient(URL) as client:
        newest = client.history("BTC-USD", "1m", limit=50)
        assert len(newest) == 50 and newest.token is not None
        starts = [bar.start_ms for bar in newest]
        assert starts == list(range(starts[0], starts[0] + 50 * 60_000, 60_000))
        again = client.history("BTC-USD", "1m", start=newest[0].start, end=newest[-1].end)
        assert [bar.start_ms for bar in again] == starts
        assert any(symbol["symbol"] == "BTC-USD" for symbol in client.symbols())


def test_what_is_wrong_is_said_with_what_to_write() -> None:
    with SyncClient(URL) as client:
        with pytest.raises(HistoryError, match="/api/v1/symbols"):
            client.history("XRP-DOGE", "1m")
        with pytest.raises(RequestRefused, match="BASE-QUOTE"):
            next(client.bars("btcusd", "1m"))


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_the_example_runs(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [example, URL, "--count", "5"])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / example), run_name="__main__")


def ends_after(count: int) -> Callable[[Bar], bool]:
    """Say whether so many bars have come."""
    left = iter(range(count))
    return lambda _: next(left, None) is None


def test_the_strategy_decides_alike_on_live_bars_and_on_their_replay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = runpy.run_path(str(EXAMPLES / "crossing.py"))

    def play(bars: Iterator[Bar], is_last: Callable[[Bar], bool]) -> Tuple[List[Any], Any]:
        run = example["Run"](example["Crossing"](2, 3), sys.modules["paper.account"].Account())
        taken = []
        # A server that has just started begins in the middle of a bar.
        for bar in dropwhile(lambda bar: bar.quality == "partial", bars):
            before = run.newest_ms
            decision = run.take(bar)
            if run.newest_ms != before:
                taken.append((bar.rev, bar.start_ms, bar.open, bar.close, decision))
            if is_last(bar):
                break
        return taken, run

    with SyncClient(URL) as client:
        for _ in range(3):
            live, traded = play(client.bars("BTC-USD", "1s", closed_only=True), ends_after(10))
            first, last = live[0][1], live[-1][1]
            stored = client.bars("BTC-USD", "1s", start=first, speed=1000, closed_only=True)
            replay, again = play(stored, lambda bar: bar.start_ms >= last)
            if [bar[:2] for bar in live] == [bar[:2] for bar in replay]:
                break
    # On a machine that is too busy, late trades revise a bar after it was decided on.
    pairs = enumerate(zip(live, replay))
    alike = next((at for at, (bar, other) in pairs if bar[0] != other[0]), len(live))
    assert replay[:alike] == live[:alike]
    assert [bar[1] for bar in replay] == [bar[1] for bar in live]
    if alike == len(live):
        assert again.account.fills == traded.account.fills
        assert again.account.equity == traded.account.equity
