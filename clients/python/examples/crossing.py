"""A strategy: buy when the fast mean of closed bars crosses above the slow one, sell below.

The same rules decide on live bars and on a replay of stored bars.

    python crossing.py http://127.0.0.1:8080 --width 1s
    python crossing.py http://127.0.0.1:8080 --width 1m --replay-from 1763697600000 --report out
"""

import argparse
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Deque, Iterator, Optional

from paper.account import Account
from paper.report import write

from klinecast import Bar
from klinecast.sync import Client


class Crossing:
    """Means of the last few and of the last many closed bars."""

    def __init__(self, fast: int = 5, slow: int = 20) -> None:
        if not 0 < fast < slow:
            raise ValueError(f"the fast mean has fewer bars than the slow one, not {fast} and {slow}")
        self.fast = fast
        self.closes: Deque[Decimal] = deque(maxlen=slow)
        self.was_above: Optional[bool] = None

    def decide(self, bar: Bar) -> Optional[str]:
        """Return ``buy``, ``sell`` or None for a closed bar."""
        self.closes.append(bar.close)
        slow = len(self.closes)
        if slow != self.closes.maxlen:
            return None
        # Sums are compared, not quotients: exact, so every program decides alike.
        fast_sum = sum(list(self.closes)[-self.fast :], Decimal(0)) * slow
        is_above, before = fast_sum > sum(self.closes, Decimal(0)) * self.fast, self.was_above
        self.was_above = is_above
        if before is None or before == is_above:
            return None
        return "buy" if is_above else "sell"


class Run:
    """A strategy on a stream of bars, wherever they come from."""

    def __init__(self, strategy: Crossing, account: Account) -> None:
        self.strategy = strategy
        self.account = account
        self.newest_ms: Optional[int] = None
        #: Bars that were corrected after they had been decided on. A replay has the corrected ones,
        #: and may decide otherwise there.
        self.revised = 0

    def take(self, bar: Bar) -> Optional[str]:
        """Decide on a bar. None if it is forming, or was decided on before."""
        if not bar.is_closed:
            return None
        if self.newest_ms is not None and bar.start_ms <= self.newest_ms:
            self.revised += bar.rev > 0
            return None
        self.newest_ms = bar.start_ms
        decision = self.strategy.decide(bar)
        self.account.take(bar, decision)
        return decision


def bars_of(client: Client, chosen: argparse.Namespace) -> Iterator[Bar]:
    if chosen.replay_from is None:
        return client.bars(chosen.symbol, chosen.width, last=chosen.last, closed_only=True)
    return client.bars(
        chosen.symbol, chosen.width, start=chosen.replay_from, speed=chosen.speed, closed_only=True
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    options.add_argument("--symbol", default="BTC-USD")
    options.add_argument("--width", default="1s")
    options.add_argument("--fast", type=int, default=5, help="bars of the fast mean")
    options.add_argument("--slow", type=int, default=20, help="bars of the slow mean")
    options.add_argument("--last", type=int, default=200, help="bars of the past before live ones")
    options.add_argument("--replay-from", type=int, help="replay from this time, in milliseconds")
    options.add_argument("--speed", type=int, default=1000, help="of a replay, 1 to 1,000")
    options.add_argument("--count", type=int, default=0, help="end after so many live bars")
    options.add_argument("--until", type=int, help="end with the bar that starts then")
    options.add_argument("--report", type=Path, help="folder for report.json and equity.svg")
    chosen = options.parse_args()
    run = Run(Crossing(chosen.fast, chosen.slow), Account())
    live = 0
    with Client(chosen.url) as client:
        for bar in bars_of(client, chosen):
            decision = run.take(bar)
            if decision is not None:
                print(f"{bar.start_ms} {bar.end:%Y-%m-%d %H:%M:%S} {decision} at {bar.close}")
            live += bar.seq > 0
            if chosen.count and live >= chosen.count:
                break
            if chosen.until is not None and bar.start_ms >= chosen.until:
                break
    if chosen.report is not None:
        write(chosen.report, run.account, run.revised)


if __name__ == "__main__":
    main()
