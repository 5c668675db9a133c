"""Trades, quotes, tickers and alerts, as types. The names are those of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Callable, Dict, Mapping, Optional

from .fields import BadMessage, reader_of, text


@dataclass(frozen=True)
class Trade:
    """A trade, or an aggregate of one order's trades at one price. Each comes once, in order.

    Another ``epoch`` than that of the trade before is a hole of unknown size.
    """

    topic: str
    #: Rises by one with each trade of the topic within an epoch.
    seq: int
    epoch: int
    exchange: str
    symbol: str
    first_id: str
    last_id: str
    price: Decimal
    #: In the base currency.
    quantity: Decimal
    #: What the taker did: ``buy`` or ``sell``.
    aggressor_side: str
    event_ms: int
    received_us: int
    published_us: int
    #: Number of earlier trades of this topic and epoch that were not sent.
    skipped: int = 0


@dataclass(frozen=True)
class Quote:
    """The best bid and ask. Only the newest counts. None where there is none."""

    topic: str
    seq: int
    epoch: int
    exchange: str
    symbol: str
    bid: Optional[Decimal]
    bid_quantity: Optional[Decimal]
    ask: Optional[Decimal]
    ask_quantity: Optional[Decimal]
    update_id: Optional[str]
    event_ms: Optional[int]
    received_us: int
    published_us: int


@dataclass(frozen=True)
class Ticker:
    """The last 24 hours, as the venue counts them. None is what the venue does not say."""

    topic: str
    seq: int
    epoch: int
    exchange: str
    symbol: str
    #: Where the 24 hours come from: ``venue``.
    source: str
    open: Optional[Decimal]
    high: Optional[Decimal]
    low: Optional[Decimal]
    last: Decimal
    last_quantity: Optional[Decimal]
    volume: Decimal
    quote_volume: Optional[Decimal]
    count: Optional[int]
    first_id: Optional[str]
    last_id: Optional[str]
    bid: Optional[Decimal]
    bid_quantity: Optional[Decimal]
    ask: Optional[Decimal]
    ask_quantity: Optional[Decimal]
    event_ms: Optional[int]
    received_us: int
    published_us: int


@dataclass(frozen=True)
class Alert:
    """An alert of a rule. Each of a topic ``alert:…`` comes once, in order.

    It is an object of the class of its ``type``, such as `MoveAlert`. An alert of a type that this
    version does not know is an `Alert` and nothing else.
    """

    topic: str
    #: Rises by one with each alert of the rule and symbol within an epoch.
    seq: int
    #: When the rule was last created or changed.
    epoch: int
    exchange: str
    symbol: str
    #: The name of the rule.
    rule: str
    type: str
    #: ``info``, ``warning`` or ``critical``.
    level: str
    #: ``up``, ``down`` or ``none``.
    direction: str
    #: The bar in which the rule fired.
    start_ms: int
    end_ms: int
    #: What was measured, and what it was compared with.
    value: str
    reference: str
    raised_ms: int
    #: Number of earlier alerts of this topic and epoch that were not sent.
    skipped: int = 0


class MoveAlert(Alert):
    """The price moved: ``value`` is the price, ``reference`` the extreme one of the window."""


class CrossAlert(Alert):
    """The price crossed a level: ``value`` is the price, ``reference`` the level."""


class VolumeAlert(Alert):
    """Much was traded: ``value`` is the volume of the window, ``reference`` that of the time before."""


class SpreadAlert(Alert):
    """The best bid and ask are far apart for a time: ``value`` is the ask, ``reference`` the bid."""


class GapAlert(Alert):
    """Something is missing: ``value`` is ``trades`` or ``bars``."""


class StaleAlert(Alert):
    """Nothing was traded: ``value`` is for how many seconds, ``reference`` the rule's seconds."""


@dataclass(frozen=True)
class ServiceAlert:
    """What a service of the operator says of itself in a topic ``system:alert:…``."""

    topic: str
    service: str
    #: All of the message.
    fields: Mapping[str, Any]


_ALERTS: Dict[str, Callable[[Mapping[str, Any]], Alert]] = {
    "move": reader_of(MoveAlert),
    "cross": reader_of(CrossAlert),
    "volume": reader_of(VolumeAlert),
    "spread": reader_of(SpreadAlert),
    "gap": reader_of(GapAlert),
    "stale": reader_of(StaleAlert),
}
_any_alert = reader_of(Alert)
_trade = reader_of(Trade)

#: How a quote or a ticker is made of its JSON object.
parse_quote = reader_of(Quote)
parse_ticker = reader_of(Ticker)


def parse_trade(message: Mapping[str, Any]) -> Trade:
    """Make a trade of its JSON object.

    Raises:
        BadMessage: a field is missing or has another type.
    """
    trade = _trade(message)
    if trade.aggressor_side not in ("buy", "sell"):
        raise BadMessage(f"a taker buys or sells, not {trade.aggressor_side!r:.60}")
    return trade


def parse_alert(message: Mapping[str, Any]) -> Alert:
    """Make an alert of its JSON object.

    Raises:
        BadMessage: a field is missing or has another type.
    """
    alert = _ALERTS.get(text(message.get("type")), _any_alert)(message)
    if alert.direction not in ("up", "down", "none"):
        raise BadMessage(f"a direction is up, down or none, not {alert.direction!r:.60}")
    return alert
