"""A strategy: buy when the fast mean of closed bars crosses above the slow one, sell below.

The same function decides on the past and on live bars.

    python crossing.py http://127.0.0.1:8080 --width 1s
"""

import argparse
from collections import deque
from decimal import Decimal
from typing import Deque, Optional

from klinecast import Bar
from klinecast.sync import Client


class Crossing:
    """Means of the last 5 and the last 20 closed bars."""

    def __init__(self) -> None:
        self.closes: Deque[Decimal] = deque(maxlen=20)
        self.was_above: Optional[bool] = None

    def decide(self, bar: Bar) -> Optional[str]:
        """Return ``buy``, ``sell`` or None for a closed bar."""
        self.closes.append(bar.close)
        if len(self.closes) < 20:
            return None
        fast = sum(list(self.closes)[-5:], Decimal(0)) / 5
        slow = sum(self.closes, Decimal(0)) / 20
        is_above, before = fast > slow, self.was_above
        self.was_above = is_above
        if before is None or before == is_above:
            return None
        return "buy" if is_above else "sell"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    options.add_argument("--symbol", default="BTC-USD")
    options.add_argument("--width", default="1s")
    options.add_argument("--count", type=int, default=0, help="end after so many live bars")
    chosen = options.parse_args()
    strategy = Crossing()
    newest = None
    live = 0
    with Client(chosen.url) as client:
        for bar in client.bars(chosen.symbol, chosen.width, last=200, closed_only=True):
            if newest is not None and bar.start_ms <= newest:
                # A revision of a bar that was decided on.
                continue
            newest = bar.start_ms
            decision = strategy.decide(bar)
            if decision is not None:
                print(f"{bar.end:%Y-%m-%d %H:%M:%S} {decision} at {bar.close}")
            live += bar.seq > 0
            if chosen.count and live >= chosen.count:
                break


main()
