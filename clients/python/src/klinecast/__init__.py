"""Client of Klinecast: bars of the past and live bars in one call.

>>> import asyncio, klinecast
>>> async def main():
...     async with klinecast.Client("http://127.0.0.1:8080") as client:
...         async for bar in client.bars("BTC-USD", "1m", last=100):
...             print(bar.start, bar.close, bar.state)
>>> asyncio.run(main())  # doctest: +SKIP
"""

from .bars import Bars
from .client import Client
from .errors import ConnectionRefused, HistoryError, KlinecastError, RequestRefused
from .messages import (
    Ack,
    Bar,
    Book,
    Boundary,
    Expiring,
    Feed,
    Gap,
    Level,
    Live,
    Message,
    Other,
    Skipped,
)
from .subscription import Subscription

__all__ = [
    "Ack",
    "Bar",
    "Bars",
    "Book",
    "Boundary",
    "Client",
    "ConnectionRefused",
    "Expiring",
    "Feed",
    "Gap",
    "HistoryError",
    "KlinecastError",
    "Level",
    "Live",
    "Message",
    "Other",
    "RequestRefused",
    "Skipped",
    "Subscription",
]

__version__ = "0.1.0"
