"""The same client without ``async``: for notebooks and scripts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Coroutine, Dict, Iterator, List, TypeVar

from .bars import Bars
from .client import Client as AsyncClient
from .messages import Bar, Book, Message
from .values import Alert, Quote, Ticker, Trade

T = TypeVar("T")


class Client:
    """As `klinecast.Client`, with plain iterators. A thread of its own does the work.

    >>> with Client("http://127.0.0.1:8080") as client:  # doctest: +SKIP
    ...     for bar in client.bars("BTC-USD", "1m", last=10):
    ...         print(bar.start, bar.close)
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", **options: Any) -> None:
        """Name the server; the options are those of `klinecast.Client`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def make() -> AsyncClient:
            return AsyncClient(url, **options)

        try:
            self._client = self._run(make())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Client:
        """Return itself; the end of the block closes everything."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread."""
        if not self._loop.is_closed():
            self._run(self._client.aclose())
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # An interrupt in this thread ends the work in the other one, too.
            future.cancel()
            raise

    def _iterate(self, items: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await items.__anext__()

        try:
            while True:
                try:
                    item = self._run(following())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if not self._loop.is_closed():
                self._run(items.aclose())

    def bars(self, symbols: Any, width: str = "1m", **options: Any) -> Iterator[Bar]:
        """Yield bars as `klinecast.Client.bars` does."""
        return self._iterate(self._client.bars(symbols, width, **options))

    def subscribe(self, topics: Any, **options: Any) -> Iterator[Message]:
        """Yield messages as `klinecast.Client.subscribe` does."""
        return self._iterate(self._client.subscribe(topics, **options))

    def trades(self, symbols: Any) -> Iterator[Trade]:
        """Yield trades as `klinecast.Client.trades` does."""
        return self._iterate(self._client.trades(symbols))

    def quotes(self, symbols: Any) -> Iterator[Quote]:
        """Yield quotes as `klinecast.Client.quotes` does."""
        return self._iterate(self._client.quotes(symbols))

    def tickers(self, symbols: Any) -> Iterator[Ticker]:
        """Yield tickers as `klinecast.Client.tickers` does."""
        return self._iterate(self._client.tickers(symbols))

    def books(self, symbols: Any) -> Iterator[Book]:
        """Yield order books as `klinecast.Client.books` does."""
        return self._iterate(self._client.books(symbols))

    def alerts(self, rules: Any = "*", symbol: str = "*") -> Iterator[Alert]:
        """Yield alerts as `klinecast.Client.alerts` does."""
        return self._iterate(self._client.alerts(rules, symbol))

    def history(self, symbol: str, width: str = "1m", **options: Any) -> Bars:
        """Return bars as `klinecast.Client.history` does."""
        return self._run(self._client.history(symbol, width, **options))

    def symbols(self) -> List[Dict[str, Any]]:
        """Return symbols as `klinecast.Client.symbols` does."""
        return self._run(self._client.symbols())
