"""Prints the last bars of a symbol, and then every change.

    python follow.py http://127.0.0.1:8080 --symbol BTC-USD --width 7s
"""

import argparse
import asyncio

from klinecast import Client


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", nargs="?", default="http://127.0.0.1:8080")
    options.add_argument("--symbol", default="BTC-USD")
    options.add_argument("--width", default="1s")
    options.add_argument("--last", type=int, default=10, help="bars of the past")
    options.add_argument("--count", type=int, default=0, help="end after so many live bars")
    chosen = options.parse_args()
    left = chosen.count
    async with Client(chosen.url) as client:
        async for bar in client.bars(chosen.symbol, chosen.width, last=chosen.last):
            print(f"{bar.start:%H:%M:%S} {bar.close:>12} {bar.volume:>14} {bar.state}")
            if bar.seq > 0 and left > 0:
                left -= 1
                if left == 0:
                    break


asyncio.run(main())
