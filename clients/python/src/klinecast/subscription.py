"""One connection that delivers topics, and that goes on where it stopped after a break."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import time
from collections import deque
from dataclasses import replace
from typing import (
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Deque,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Union,
)

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .backoff import Advice, Backoff, advice
from .books import Books
from .errors import ConnectionRefused, RequestRefused
from .fields import BadMessage, list_of
from .log_places import LogPlaces, is_log
from .messages import Ack, Bar, Book, BookChanges, Expiring, Live, Message, Skipped, parse
from .options import options
from .places import Place, Places, requests_of_bars, since_of_others
from .values import Alert, Trade

#: Where tokens come from: a token, or a function that makes a new one.
TokenSource = Union[None, str, Callable[[], Union[str, Awaitable[str]]]]

_log = logging.getLogger("klinecast")

#: The largest frame that is accepted, in bytes. A gateway sends half a mebibyte at most.
_FRAME_BYTES_MAX = 4 << 20
#: Frames that wait in the library. Beyond them the socket is not read, and the gateway conflates.
_FRAMES_MAX = 4
#: Topics of one request, and of one `since`.
_REQUEST_TOPICS = 100
_SINCE_TOPICS = 400
#: Requests that a gateway takes at once, and seconds between those that follow.
_REQUESTS_AT_ONCE = 20
_REQUEST_PAUSE = 0.12
#: A connection that lasted so many seconds counts as one that works.
_STABLE_SECONDS = 10.0
#: Bars that are missing are asked for again at most once in so many seconds.
_HEAL_SECONDS = 60.0


class _Break(Exception):
    """The connection is of no more use. ``after`` is the least delay in seconds."""

    def __init__(self, why: Advice, text: str, after: float = 0.0) -> None:
        super().__init__(text)
        self.why = why
        self.after = after


def is_exact_kline(topic: str) -> bool:
    """Whether a topic names the bars of one symbol."""
    return topic.startswith("kline:") and "*" not in topic and ">" not in topic


async def token_of(source: TokenSource) -> Optional[str]:
    """Ask a source for a token."""
    if source is None or isinstance(source, str):
        return source
    token = source()
    return await token if inspect.isawaitable(token) else token


class Subscription(AsyncIterator[Message]):
    """The messages of some topics, without end.

    Trades and alerts come once each, in order, or are counted in ``skipped``.

    An order book is right for as long as the connection lasts: after a break comes a `Book` that
    is ``invalid``, for each one that was valid.

    The socket is read only as fast as messages are taken: a slow program gets the newest forming
    bar and every closed bar, because the gateway conflates for it. After a break, the subscription
    connects again and goes on where it stopped. Closed bars that the gateway had to skip are asked
    for again once; what is missing after that is said by ``Bar.skipped``, `Skipped` or `Live`.

    A closed bar can come again after a break while pages of the past were coming: place bars by
    ``topic`` and ``start_ms``. Only one task may take messages.
    """

    def __init__(
        self,
        url: str,
        topics: Sequence[str],
        *,
        token: TokenSource = None,
        start: Optional[Mapping[str, Any]] = None,
        starts: Optional[Mapping[str, str]] = None,
        closed_only: bool = False,
        fill: str = "flat",
        max_rate: Optional[float] = None,
        book_depth: Optional[int] = None,
        book_changes: bool = False,
        open_timeout: float = 10.0,
        stale_after: float = 40.0,
        backoff: Optional[Backoff] = None,
    ) -> None:
        """Prepare a subscription; the first message that is asked for opens the connection.

        Args:
            url: the WebSocket, such as ``ws://127.0.0.1:8080/ws``.
            topics: topics and patterns of the protocol, such as ``kline:1m:BTC-USD``.
            token: a token, or a function that makes one, where the gateway wants one.
            start: the ``from`` of exact topics of bars, such as ``{"last": 500}``.
            starts: for topics of bars whose past is had already: the tokens to go on from.
            closed_only: no forming bars.
            fill: ``none`` leaves out the bars of intervals without trades.
            max_rate: at most so many frames a second.
            book_depth: levels of each side of order books: 5, 10, 20 or 50.
            book_changes: the gateway sends what has changed of order books, in fewer bytes.
            open_timeout: seconds after which a first connection that fails is an error.
            stale_after: seconds after which a server that answers no ping counts as gone.
            backoff: the delays between attempts.
        """
        if not topics:
            raise ValueError("a topic is needed, such as kline:1m:BTC-USD")
        self._url = url
        self._topics = list(dict.fromkeys(topics))
        self._exact = [topic for topic in self._topics if is_exact_kline(topic)]
        self._logs = [topic for topic in self._topics if is_log(topic)]
        self._others = [
            topic for topic in self._topics if not is_exact_kline(topic) and not is_log(topic)
        ]
        self._exact_set = frozenset(self._exact)
        self._token = token
        self._start = dict(start) if start is not None else None
        self._options = options(closed_only, fill, max_rate, book_depth, book_changes)
        self._open_timeout = open_timeout
        self._stale_after = stale_after
        self._backoff = backoff or Backoff()
        self._places = Places()
        self._log_places = LogPlaces()
        for topic, place in (starts or {}).items():
            self._places.of(topic).reach(Live(topic, True, None, place))
        self._socket: Optional[ClientConnection] = None
        self._lines: Deque[str] = deque()
        #: The valid order books that were delivered, and those that a break has ended.
        self._books = Books()
        self._next_id = 1
        #: Requests without an answer, and the topics whose messages wait for it.
        self._asked: Dict[int, List[str]] = {}
        self._waiting: Set[str] = set()
        #: Topics of patterns that could not be resumed by number: their first bar shows a hole.
        self._unproved: Set[str] = set()
        self._began: Optional[float] = None
        self._opened_at: Optional[float] = None
        self._connected_once = False
        self._delay = 0.0
        self._is_closed = False
        #: Number of connections that were opened.
        self.connections = 0

    @property
    def topics(self) -> Sequence[str]:
        """What is subscribed."""
        return tuple(self._topics)

    def __aiter__(self) -> Subscription:
        """Return itself."""
        return self

    async def __aenter__(self) -> Subscription:
        """Return itself; the end of the block closes the connection."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. The iteration ends."""
        self._is_closed = True
        self._lines.clear()
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def __anext__(self) -> Message:
        """Wait for the next message.

        Raises:
            RequestRefused: the gateway refuses a topic or an option.
            ConnectionRefused: the gateway refuses this client.
        """
        while not self._is_closed:
            try:
                lost = self._books.next_lost()
                if lost is not None:
                    return lost
                while self._lines:
                    message = await self._handle(self._lines.popleft())
                    if message is not None:
                        return message
                if self._is_closed:
                    break
                await self._read()
            except _Break as reason:
                self._end(reason)
            except BadMessage as reason:
                self._end(_Break(Advice.BACK_OFF, f"the server sent what is no message: {reason}"))
        raise StopAsyncIteration

    async def _read(self) -> None:
        """Read one frame, from a new connection if there is none."""
        if self._socket is None:
            await self._open()
        socket = self._socket
        assert socket is not None
        try:
            frame = await socket.recv()
        except ConnectionClosed as reason:
            code = reason.rcvd.code if reason.rcvd is not None else 1006
            text = reason.rcvd.reason if reason.rcvd is not None else "the connection broke"
            why = advice(code)
            if self._is_closed:
                return
            if why is Advice.STOP or (why is Advice.NEW_TOKEN and not callable(self._token)):
                await self.aclose()
                raise ConnectionRefused(code, f"the gateway closed with {code}: {text}") from None
            raise _Break(why, f"close code {code}: {text}") from None
        if not isinstance(frame, str):
            raise BadMessage("a binary frame")
        self._lines.extend(line for line in frame.split("\n") if line)

    def _end(self, reason: _Break) -> None:
        """Drop the connection, and say how long to wait."""
        now = time.monotonic()
        if self._opened_at is not None and now - self._opened_at >= _STABLE_SECONDS:
            self._backoff.worked()
        self._delay = max(reason.after, self._backoff.delay(reason.why))
        _log.warning("connect again in %.1f s: %s", self._delay, reason)
        self._opened_at = None
        self._lines.clear()
        self._books.end()
        self._asked.clear()
        self._waiting.clear()
        socket, self._socket = self._socket, None
        if socket is not None:
            # The server need not answer the close: nothing waits for it.
            socket.transport.abort()

    async def _open(self) -> None:
        if self._began is None:
            self._began = time.monotonic()
        if self._delay > 0.0:
            await asyncio.sleep(self._delay)
            self._delay = 0.0
        token = await token_of(self._token)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            socket = await connect(
                self._url,
                additional_headers=headers,
                max_size=_FRAME_BYTES_MAX,
                max_queue=_FRAMES_MAX,
                open_timeout=self._open_timeout,
                ping_interval=self._stale_after / 2,
                ping_timeout=self._stale_after / 2,
                close_timeout=2.0,
                user_agent_header="klinecast-python/0.1",
            )
        except InvalidStatus as refusal:
            self._refused(refusal)
        except (OSError, InvalidHandshake, EOFError, ValueError) as reason:
            waited = time.monotonic() - self._began
            if not self._connected_once and waited >= self._open_timeout:
                await self.aclose()
                raise ConnectionRefused(
                    0, f"{self._url} does not answer: is the server running there? ({reason})"
                ) from reason
            raise _Break(Advice.SOON, f"no connection: {reason}") from None
        else:
            self._socket = socket
            self._opened_at = time.monotonic()
            self.connections += 1
            try:
                await self._subscribe()
            except ConnectionClosed:
                # The reason is read with the next frame.
                pass
            self._connected_once = True

    def _refused(self, refusal: InvalidStatus) -> None:
        response = refusal.response
        text = (response.body or b"")[:500].decode("utf-8", "replace").strip()
        status = response.status_code
        if status in (429, 500, 502, 503, 504):
            after = response.headers.get("Retry-After", "")
            wait = float(after) if after.isdecimal() and len(after) < 4 else 0.0
            raise _Break(Advice.BACK_OFF, f"status {status}: {text}", wait) from None
        if status == 401 and callable(self._token) and self._connected_once:
            raise _Break(Advice.BACK_OFF, f"the token is not accepted: {text}") from None
        self._is_closed = True
        raise ConnectionRefused(status, f"the gateway answered {status}: {text}") from None

    async def _subscribe(self) -> None:
        """Ask for everything, each topic from where it stopped."""
        requests = requests_of_bars(self._exact, self._places, self._start, _REQUEST_TOPICS)
        for at in range(0, len(self._others), _REQUEST_TOPICS):
            requests.append({"topics": self._others[at : at + _REQUEST_TOPICS]})
        if self._others:
            since, self._unproved = since_of_others(self._places, self._exact_set, _SINCE_TOPICS)
            requests[-1].update(since)
        requests += self._log_places.requests(self._logs, _REQUEST_TOPICS, _SINCE_TOPICS)
        for number, request in enumerate(requests):
            if number >= _REQUESTS_AT_ONCE:
                await asyncio.sleep(_REQUEST_PAUSE)
            await self._ask(request)

    async def _ask(self, request: Dict[str, Any]) -> None:
        assert self._socket is not None
        number = self._next_id
        self._next_id += 1
        topics = request["topics"]
        self._asked[number] = topics
        if "from" in request:
            self._waiting.update(topics)
            for topic in topics:
                self._places.of(topic).is_reading = True
        await self._socket.send(
            json.dumps({"op": "sub", "id": number, **request, **self._options})
        )

    async def _handle(self, line: str) -> Optional[Message]:
        """Read a line. None if it is of no interest to the caller."""
        message, fields = parse(line)
        if isinstance(message, Bar):
            return await self._take_bar(message)
        if isinstance(message, Book):
            return self._books.take(message)
        if isinstance(message, BookChanges):
            return self._books.change(message)
        if isinstance(message, (Trade, Alert)) and is_log(message.topic):
            return self._log_places.take(message)
        if isinstance(message, Ack):
            self._answered(fields)
            return message
        if isinstance(message, Live):
            if message.topic in self._waiting:
                return None
            self._places.of(message.topic).reach(message)
            return message
        if isinstance(message, Skipped):
            if message.topic in self._waiting or await self._heal(message.topic):
                return None
            return message
        if isinstance(message, Expiring):
            await self._renew()
            return message
        if fields.get("op") == "error":
            await self._error(fields)
        return message

    async def _take_bar(self, bar: Bar) -> Optional[Bar]:
        if bar.topic in self._waiting:
            return None
        if bar.skipped > 0 and await self._heal(bar.topic):
            return None
        place = self._places.of(bar.topic)
        if bar.topic in self._unproved and bar.is_closed:
            self._unproved.discard(bar.topic)
            width = bar.end_ms - bar.start_ms
            if place.end_ms is not None and bar.start_ms > place.end_ms and width > 0:
                missing = max(1, (bar.start_ms - place.end_ms) // width)
                bar = replace(bar, skipped=bar.skipped + missing)
        return bar if place.take(bar) else None

    async def _heal(self, topic: str) -> bool:
        """Ask again for bars that were skipped. False if that is not possible now."""
        place: Place = self._places.of(topic)
        token = place.token()
        now = time.monotonic()
        if (
            topic not in self._exact_set
            or token is None
            or self._socket is None
            or (place.healed_at is not None and now - place.healed_at < _HEAL_SECONDS)
        ):
            return False
        place.healed_at = now
        _log.info("%s: bars were skipped; they are asked for again", topic)
        try:
            await self._ask({"topics": [topic], "from": {"token": token}})
        except ConnectionClosed:
            # The next connection asks from the same place.
            pass
        return True

    def _answered(self, fields: Mapping[str, Any]) -> None:
        number = fields.get("id")
        topics = self._asked.pop(number, None) if isinstance(number, int) else None
        if topics is not None:
            self._waiting.difference_update(topics)

    async def _renew(self) -> None:
        """Send a new token, if there is a source of them."""
        if not callable(self._token) or self._socket is None:
            return
        token = await token_of(self._token)
        try:
            await self._socket.send(json.dumps({"op": "auth", "token": token}))
        except ConnectionClosed:
            pass

    async def _error(self, fields: Mapping[str, Any]) -> None:
        code = str(fields.get("code"))
        text = str(fields.get("message"))
        topics = fields.get("topics")
        if code == "overloaded":
            raise _Break(Advice.BACK_OFF, text)
        if code == "invalid_token" and self._connected_once:
            # The old token stays valid until it expires.
            _log.warning("the new token is not accepted: %s", text)
            return
        await self.aclose()
        raise RequestRefused(code, text, list_of(topics) or ())
