"""What a gateway sends, as types. The names are those of the protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, List, Mapping, Optional, Tuple, Union

from .fields import (
    BadMessage,
    count,
    decimal,
    integer,
    list_of,
    object_of,
    optional,
    reader_of,
    text,
    texts,
)
from .values import (
    Alert,
    Quote,
    ServiceAlert,
    Ticker,
    Trade,
    parse_alert,
    parse_quote,
    parse_ticker,
    parse_trade,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def time_of(ms: int) -> datetime:
    """Turn unix milliseconds into a time in UTC, exactly."""
    return _EPOCH + timedelta(milliseconds=ms)


@dataclass(frozen=True)
class Bar:
    """A bar. Prices and volumes are exact. Times are unix milliseconds in UTC."""

    topic: str
    seq: int
    epoch: int
    exchange: str
    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    #: None where the venue does not say it. The same holds for the next three.
    quote_volume: Optional[Decimal]
    taker_buy_volume: Optional[Decimal]
    taker_buy_quote_volume: Optional[Decimal]
    count: Optional[int]
    first_id: Optional[str]
    last_id: Optional[str]
    #: ``forming`` or ``closed``.
    state: str
    #: Above 0: a late trade changed a closed bar. Replace the bar with the same start.
    rev: int
    #: ``complete``, ``gap``, ``backfilled``, ``partial`` or ``filled``.
    quality: str
    event_ms: Optional[int]
    received_us: Optional[int]
    published_us: int
    #: Number of closed bars of this topic that were not sent before this one.
    skipped: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether the interval is over."""
        return self.state == "closed"

    @property
    def start(self) -> datetime:
        """The first instant of the interval, in UTC."""
        return time_of(self.start_ms)

    @property
    def end(self) -> datetime:
        """The first instant after the interval, in UTC."""
        return time_of(self.end_ms)


@dataclass(frozen=True)
class Ack:
    """The answer to a subscription."""

    topics: Tuple[str, ...]
    #: Topics without data so far. A symbol that does not exist stays here.
    pending: Tuple[str, ...]
    #: Topics of which the gateway does not know all that came since.
    not_resumed: Tuple[str, ...]


@dataclass(frozen=True)
class Live:
    """The past of a topic ends here. What follows is new."""

    topic: str
    #: Whether every closed bar before this place was sent.
    recovered: bool
    #: ``history``, ``gap`` or ``too_many`` where it is not recovered.
    reason: Optional[str]
    token: Optional[str]
    #: How many intervals between the bars before this place have no bar, because history has none.
    missing: int = 0


@dataclass(frozen=True)
class Skipped:
    """Closed bars of a topic that were not sent, and that no bar counted."""

    topic: str
    skipped: int


@dataclass(frozen=True)
class Level:
    """A price of an order book, and what is offered or asked for at it. Exact."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True)
class Book:
    """The best levels of an order book. Each has all of them, so only the newest one counts.

    With ``book_changes``, the gateway sends less, and the subscription makes whole books of it.
    """

    topic: str
    seq: int
    epoch: int
    exchange: str
    symbol: str
    #: ``valid`` or ``invalid``: then there is no book now, and the one before is to be discarded.
    state: str
    #: Why there is none: a reason of the protocol, or ``disconnected`` from this client.
    reason: Optional[str]
    #: The venue's number of this state, if it has one.
    update_id: Optional[str]
    #: The highest price first.
    bids: Tuple[Level, ...]
    #: The lowest price first, above all bids.
    asks: Tuple[Level, ...]
    event_ms: Optional[int]
    received_us: Optional[int]
    published_us: int

    @property
    def is_valid(self) -> bool:
        """Whether it is the venue's book."""
        return self.state == "valid"

    def disconnected(self) -> Book:
        """Say that nobody knows whether the book is still right."""
        return replace(
            self,
            state="invalid",
            reason="disconnected",
            update_id=None,
            bids=(),
            asks=(),
            event_ms=None,
            received_us=None,
        )


@dataclass(frozen=True)
class BookChanges:
    """What makes the newest order book of the one before. A quantity of zero: the level is gone."""

    topic: str
    seq: int
    epoch: int
    #: The number of the book that changes.
    prev_seq: int
    #: Levels of each side that are followed; ``None`` for all.
    depth: Optional[int]
    update_id: Optional[str]
    bids: Tuple[Level, ...]
    asks: Tuple[Level, ...]
    checksum: int
    event_ms: Optional[int]
    received_us: Optional[int]
    published_us: int


@dataclass(frozen=True)
class Boundary:
    """An interval is over for all symbols of a publisher."""

    topic: str
    interval: str
    end_ms: int
    bars: int
    missing: int


@dataclass(frozen=True)
class Feed:
    """The state of a venue's feed. ``fields`` has all of the message."""

    topic: str
    exchange: str
    #: ``live``, ``stale`` or ``reconnecting``.
    state: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Gap:
    """Missing trades of a symbol: they are being asked for, came, or are lost."""

    topic: str
    exchange: str
    symbol: str
    #: ``open``, ``filled`` or ``lost``.
    state: str
    from_ms: int
    to_ms: Optional[int]
    first_id: Optional[str]
    last_id: Optional[str]


@dataclass(frozen=True)
class Expiring:
    """The token of the session expires soon. The client asks its token source for another."""

    expires_ms: int


@dataclass(frozen=True)
class Other:
    """A message that this version does not know. ``fields`` has all of it."""

    topic: Optional[str]
    fields: Mapping[str, Any]


#: What a subscription yields.
Message = Union[
    Ack,
    Alert,
    Bar,
    Book,
    Boundary,
    Expiring,
    Feed,
    Gap,
    Live,
    Other,
    Quote,
    ServiceAlert,
    Skipped,
    Ticker,
    Trade,
]
#: What a line is: the changes of a book become a book.
Parsed = Union[Message, BookChanges]

#: The end of the last bar whose times Python can say.
_END_MS_MAX = 253_402_300_799_999

#: How these are made of their JSON objects.
_bar = reader_of(Bar)
_boundary = reader_of(Boundary)
_gap = reader_of(Gap)


def parse_bar(message: Mapping[str, Any]) -> Bar:
    """Make a bar of its JSON object.

    Raises:
        BadMessage: a field is missing or has another type, or the bar ends before it starts.
    """
    bar = _bar(message)
    if not 0 <= bar.start_ms < bar.end_ms <= _END_MS_MAX:
        raise BadMessage(f"a bar cannot be from {bar.start_ms} to {bar.end_ms}")
    if bar.state not in ("forming", "closed"):
        raise BadMessage(f"a bar is forming or closed, not {bar.state!r:.60}")
    return bar


def _side(value: Any, is_bids: bool, may_be_gone: bool = False) -> Tuple[Level, ...]:
    items = list_of(value)
    if items is None:
        raise BadMessage(f"a list of levels is needed, not {value!r:.60}")
    levels: List[Level] = []
    for item in items:
        pair = list_of(item)
        if pair is None or len(pair) != 2:
            raise BadMessage(f"a price and a quantity are needed, not {item!r:.60}")
        level = Level(decimal(pair[0]), decimal(pair[1]))
        if level.price <= 0 or level.quantity < 0 or not (level.quantity or may_be_gone):
            raise BadMessage(f"a level of nothing: {item!r:.60}")
        if levels and (levels[-1].price > level.price) is not is_bids:
            raise BadMessage("levels of a book are not in order")
        if levels and levels[-1].price == level.price:
            raise BadMessage("a price comes twice in a book")
        levels.append(level)
    return tuple(levels)


def parse_book(message: Mapping[str, Any]) -> Book:
    """Make an order book of its JSON object.

    Raises:
        BadMessage: a field is missing or has another type, levels are not in order, or the best
            bid is not below the best ask.
    """
    bids, asks = _side(message.get("bids"), True), _side(message.get("asks"), False)
    if bids and asks and bids[0].price >= asks[0].price:
        raise BadMessage("the best bid of a book is not below its best ask")
    state = text(message.get("state"))
    if state not in ("valid", "invalid") or (state == "invalid" and (bids or asks)):
        raise BadMessage(f"a book that is {state!r:.60} cannot have these levels")
    return Book(
        topic=text(message.get("topic")),
        seq=integer(message.get("seq")),
        epoch=integer(message.get("epoch")),
        exchange=text(message.get("exchange")),
        symbol=text(message.get("symbol")),
        state=state,
        reason=optional(text, message.get("reason")),
        update_id=optional(text, message.get("update_id")),
        bids=bids,
        asks=asks,
        event_ms=optional(integer, message.get("event_ms")),
        received_us=optional(integer, message.get("received_us")),
        published_us=integer(message.get("published_us")),
    )


def parse_book_changes(message: Mapping[str, Any]) -> BookChanges:
    """Make the changes of an order book of their JSON object.

    Raises:
        BadMessage: a field is missing or has another type, or changes are not in order.
    """
    depth = optional(integer, message.get("depth"))
    if message.get("state") != "valid" or (depth is not None and depth < 0):
        raise BadMessage("changes of a book are of a valid one, to a depth")
    return BookChanges(
        topic=text(message.get("topic")),
        seq=integer(message.get("seq")),
        epoch=integer(message.get("epoch")),
        prev_seq=integer(message.get("prev_seq")),
        depth=depth,
        update_id=optional(text, message.get("update_id")),
        bids=_side(message.get("bids"), True, may_be_gone=True),
        asks=_side(message.get("asks"), False, may_be_gone=True),
        checksum=integer(message.get("checksum")),
        event_ms=optional(integer, message.get("event_ms")),
        received_us=optional(integer, message.get("received_us")),
        published_us=integer(message.get("published_us")),
    )


def parse(line: str) -> Tuple[Parsed, Mapping[str, Any]]:
    """Make a message of a line of a frame. The second value is its JSON object.

    Raises:
        BadMessage: the line is not a message of the protocol.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise BadMessage(f"not JSON: {line[:60]!r}") from None
    fields = object_of(message)
    if fields is None:
        raise BadMessage(f"not a JSON object: {line[:60]!r}")
    return _typed(fields), fields


def _typed(message: Mapping[str, Any]) -> Parsed:
    op = message.get("op")
    topic = optional(text, message.get("topic"))
    if op is None and topic is not None:
        if topic.startswith("kline:"):
            return parse_bar(message)
        if topic.startswith("book:"):
            return parse_book_changes(message) if "prev_seq" in message else parse_book(message)
        if topic.startswith("trade:"):
            return parse_trade(message)
        if topic.startswith("quote:"):
            return parse_quote(message)
        if topic.startswith("ticker:"):
            return parse_ticker(message)
        if topic.startswith("alert:"):
            return parse_alert(message)
        if topic.startswith("system:alert:"):
            service = message.get("service")
            if isinstance(service, str):
                return ServiceAlert(topic, service, message)
            return parse_alert(message)
        if topic.startswith("system:feed:"):
            return Feed(topic, text(message.get("exchange")), text(message.get("state")), message)
        if topic == "system:service:marketdata:gap":
            return _gap(message)
    if op == "ack":
        return Ack(
            texts(message.get("topics")),
            texts(message.get("pending")),
            texts(message.get("not_resumed")),
        )
    if op == "live":
        return Live(
            text(topic),
            message.get("recovered") is True,
            optional(text, message.get("reason")),
            optional(text, message.get("token")),
            count(message.get("missing", 0)),
        )
    if op == "skipped":
        return Skipped(text(topic), count(message.get("skipped")))
    if op == "boundary":
        return _boundary(message)
    if op == "auth_expiring":
        return Expiring(integer(message.get("expires_ms")))
    return Other(topic, message)
