"""The entry: subscriptions and questions about the past, at one address."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import (
    Any,
    AsyncIterator,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
)
from urllib.parse import urlsplit

import httpx

from .bars import Bars
from .errors import HistoryError
from .fields import BadMessage, list_of, object_of
from .messages import Bar, Book, parse_bar
from .subscription import Subscription, TokenSource, token_of
from .values import Alert, Quote, Ticker, Trade

#: A time: aware, naive (UTC), or unix milliseconds.
Time = Union[datetime, int]

V = TypeVar("V")

#: Rows of one page, and attempts at a page that the server is too busy for.
_PAGE_ROWS = 5000
_ATTEMPTS = 6


def _ms(time: Time) -> int:
    if isinstance(time, datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)
        return round(aware.timestamp() * 1000)
    return time


class Client:
    """A Klinecast: one program, or a fleet behind nginx.

    >>> client = Client("http://127.0.0.1:8080")
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        token: TokenSource = None,
        history_url: Optional[str] = None,
        timeout: float = 30.0,
    ) -> None:
        """Name the server; nothing is connected yet.

        Args:
            url: where the page is, such as ``https://bars.example.org``.
            token: a token, or a function that makes one (it may be async), where one is needed.
            history_url: where history answers, if it is not behind the same address.
            timeout: seconds that an answer may take.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.netloc:
            raise ValueError(f"not an address of a server: {url!r}: write http://127.0.0.1:8080")
        is_tls = parts.scheme in ("https", "wss")
        path = parts.path.rstrip("/")
        path = path[: -len("/ws")] if path.endswith("/ws") else path
        self._socket_url = f"{'wss' if is_tls else 'ws'}://{parts.netloc}{path}/ws"
        base = history_url or f"{'https' if is_tls else 'http'}://{parts.netloc}{path}"
        self._history_url = base.rstrip("/")
        self._token = token
        self._http = httpx.AsyncClient(timeout=timeout)
        self._open: List[Subscription] = []

    async def __aenter__(self) -> Client:
        """Return itself; the end of the block closes everything."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close all subscriptions and connections."""
        for subscription in self._open:
            await subscription.aclose()
        self._open.clear()
        await self._http.aclose()

    def subscribe(self, topics: Union[str, Sequence[str]], **options: Any) -> Subscription:
        """Subscribe topics or patterns; the options are those of `Subscription`.

        >>> async def show(client):
        ...     async for message in client.subscribe(["kline:1m:*", "system:feed:*"]):
        ...         print(message)
        """
        names = [topics] if isinstance(topics, str) else list(topics)
        subscription = Subscription(self._socket_url, names, token=self._token, **options)
        self._open = [open for open in self._open if not open._is_closed]  # pyright: ignore[reportPrivateUsage]
        self._open.append(subscription)
        return subscription

    async def bars(
        self,
        symbols: Union[str, Sequence[str]],
        width: str = "1m",
        *,
        last: Optional[int] = None,
        start: Optional[Time] = None,
        speed: Optional[int] = None,
        closed_only: bool = False,
        fill: str = "flat",
        max_rate: Optional[float] = None,
    ) -> AsyncIterator[Bar]:
        """Yield bars of the past, then live bars, without a hole between them and without end.

        Args:
            symbols: ``BTC-USD``, or several of them. ``*`` is all of them, without a past.
            width: any number of seconds to months: ``1m``, ``7m``, ``4h``, ``1w``.
            last: begin with so many closed bars of the past, for each symbol.
            start: begin with the bars that start at this time, however long ago.
            speed: with ``start``, a replay: so many seconds of the past pass in one second, 1 to
                1,000, and each bar comes at its end. It runs into the present.
            closed_only: no forming bars.
            fill: ``none`` leaves out the bars of intervals without trades.
            max_rate: at most so many frames a second.

        Raises:
            RequestRefused: the gateway refuses a symbol or the width.
            ConnectionRefused: the gateway refuses this client, or does not answer at first.
            HistoryError: history refuses the question.
        """
        if last is not None and start is not None:
            raise ValueError("last and start exclude each other")
        if speed is not None and start is None:
            raise ValueError("speed needs start: the time at which the replay begins")
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        topics = [f"kline:{width}:{name}" for name in names]
        places: Dict[str, str] = {}
        begin: Optional[Dict[str, int]] = {"last": last} if last else None
        if start is not None and speed is not None:
            begin = {"ms": _ms(start), "speed": speed}
        elif start is not None:
            for name, topic in zip(names, topics):
                if "*" in name or ">" in name:
                    raise ValueError(f"start needs whole symbols, not {name!r}")
                async for page, token in self._pages(name, width, start, None, fill, None):
                    for bar in page:
                        yield bar
                    if token is not None:
                        places[topic] = token
        subscription = self.subscribe(
            topics,
            start=begin,
            starts=places,
            closed_only=closed_only,
            fill=fill,
            max_rate=max_rate,
        )
        try:
            async for message in subscription:
                if isinstance(message, Bar):
                    yield message
        finally:
            await subscription.aclose()

    def trades(self, symbols: Union[str, Sequence[str]]) -> AsyncIterator[Trade]:
        """Yield trades, each once and in order; ``skipped`` counts those that were not sent."""
        return self._only(Trade, "trade", symbols)

    def quotes(self, symbols: Union[str, Sequence[str]]) -> AsyncIterator[Quote]:
        """Yield the best bid and ask, whenever they change."""
        return self._only(Quote, "quote", symbols)

    def tickers(self, symbols: Union[str, Sequence[str]]) -> AsyncIterator[Ticker]:
        """Yield the last 24 hours."""
        return self._only(Ticker, "ticker", symbols)

    def books(self, symbols: Union[str, Sequence[str]]) -> AsyncIterator[Book]:
        """Yield order books, whole each time. See `Book.is_valid`."""
        return self._only(Book, "book", symbols)

    def alerts(
        self, rules: Union[str, Sequence[str]] = "*", symbol: str = "*"
    ) -> AsyncIterator[Alert]:
        """Yield the alerts of rules, each once and in order; of all rules and symbols by default."""
        names = [rules] if isinstance(rules, str) else list(rules)
        return self._only(Alert, "alert", [f"{rule}:{symbol}" for rule in names])

    async def _only(
        self, kind: Type[V], channel: str, names: Union[str, Sequence[str]]
    ) -> AsyncIterator[V]:
        """Yield the messages of a channel that are of a class."""
        whole = [names] if isinstance(names, str) else names
        async with self.subscribe([f"{channel}:{name}" for name in whole]) as messages:
            async for message in messages:
                if isinstance(message, kind):
                    yield message

    async def history(
        self,
        symbol: str,
        width: str = "1m",
        *,
        start: Optional[Time] = None,
        end: Optional[Time] = None,
        limit: Optional[int] = None,
        exchange: Optional[str] = None,
        fill: str = "flat",
        as_of: Optional[Time] = None,
    ) -> Bars:
        """Return closed bars of the past, the oldest first.

        Without ``start``, the newest ``limit`` bars (500 if it is not said).

        Args:
            symbol: ``BTC-USD``, or with its venue ``OKX:BTC-USDT``.
            width: any number of seconds to months.
            start: the first instant.
            end: the first instant after the range.
            limit: the most bars.
            exchange: the venue, where several have the symbol.
            fill: ``none`` leaves out the bars of intervals without trades.
            as_of: the bars as they were known then.

        Raises:
            HistoryError: the server refuses the question.
        """
        wanted = limit if limit is not None else (500 if start is None else None)
        if wanted is not None and wanted < 1:
            raise ValueError("limit is at least 1")
        bars = Bars()
        more: Dict[str, Any] = {}
        if exchange is not None:
            more["exchange"] = exchange
        if as_of is not None:
            more["as_of"] = _ms(as_of)
        async for page, token in self._pages(symbol, width, start, end, fill, wanted, more):
            bars.extend(page)
            if bars.token is None or start is not None:
                bars.token = token
        if start is None:
            bars.reverse()
        return bars

    async def _pages(
        self,
        symbol: str,
        width: str,
        start: Optional[Time],
        end: Optional[Time],
        fill: str,
        limit: Optional[int],
        more: Optional[Mapping[str, Any]] = None,
    ) -> AsyncIterator[Tuple[List[Bar], Optional[str]]]:
        """Yield pages with their tokens: the oldest first with a start, else the newest."""
        question: Dict[str, Any] = {"symbol": symbol, "width": width, "fill": fill, **(more or {})}
        question["order"] = "desc" if start is None else "asc"
        if start is not None:
            question["from"] = _ms(start)
        if end is not None:
            question["to"] = _ms(end)
        while limit is None or limit > 0:
            question["limit"] = _PAGE_ROWS if limit is None else min(limit, _PAGE_ROWS)
            answer = await self._get("/api/v1/bars", question)
            rows, cursor, token = list_of(answer.get("bars")), answer.get("next"), answer.get("token")
            if rows is None or not isinstance(cursor, (str, type(None))):
                raise BadMessage("the answer of history has no bars")
            page = [parse_bar(row) for row in rows]
            if limit is not None:
                limit -= len(page)
            yield page, token if isinstance(token, str) else None
            if cursor is None or cursor == question.get("cursor"):
                return
            question["cursor"] = cursor

    async def symbols(self) -> List[Dict[str, Any]]:
        """Return what history has stored: exchanges, symbols, widths and times."""
        answer = await self._get("/api/v1/symbols", {})
        symbols = list_of(answer.get("symbols"))
        if symbols is None:
            raise BadMessage("the answer of history has no symbols")
        return symbols

    async def _get(self, path: str, question: Mapping[str, Any]) -> Dict[str, Any]:
        token = await token_of(self._token)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        attempt = 0
        while True:
            answer = await self._http.get(
                self._history_url + path, params=dict(question), headers=headers
            )
            if answer.status_code not in (429, 502, 503, 504) or attempt == _ATTEMPTS - 1:
                break
            after = answer.headers.get("Retry-After", "")
            wait = float(after) if after.isdecimal() and len(after) < 4 else 2.0**attempt / 2
            await asyncio.sleep(min(wait, 30.0))
            attempt += 1
        try:
            body = object_of(answer.json())
        except ValueError:
            body = None
        if answer.status_code == 200 and body is not None:
            return body
        told = object_of((body or {}).get("error")) or {}
        raise HistoryError(
            answer.status_code,
            str(told.get("code", "no_answer")),
            str(told.get("message", f"{answer.url} answered {answer.status_code}")),
        )
