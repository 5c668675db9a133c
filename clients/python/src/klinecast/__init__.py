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
from .values import (
    Alert,
    CrossAlert,
    GapAlert,
    MoveAlert,
    Quote,
    ServiceAlert,
    SpreadAlert,
    StaleAlert,
    Ticker,
    Trade,
    VolumeAlert,
)

__all__ = [
    "Ack",
    "Alert",
    "Bar",
    "Bars",
    "Book",
    "Boundary",
    "Client",
    "ConnectionRefused",
    "CrossAlert",
    "Expiring",
    "Feed",
    "Gap",
    "GapAlert",
    "HistoryError",
    "KlinecastError",
    "Level",
    "Live",
    "Message",
    "MoveAlert",
    "Other",
    "Quote",
    "RequestRefused",
    "ServiceAlert",
    "Skipped",
    "SpreadAlert",
    "StaleAlert",
    "Subscription",
    "Ticker",
    "Trade",
    "VolumeAlert",
]

__version__ = "0.1.0"
