"""One message of each kind that carries data, as a gateway sends it."""

from __future__ import annotations

from typing import Any, Dict


def _of(topic: str, seq: int) -> Dict[str, Any]:
    return {
        "topic": topic,
        "seq": seq,
        "epoch": 5,
        "exchange": "binance",
        "symbol": "BTC-USDT",
    }


def trade(seq: int, **fields: Any) -> Dict[str, Any]:
    message = {
        **_of("trade:BTC-USDT", seq),
        "first_id": str(seq),
        "last_id": str(seq),
        "price": "61837.63",
        "quantity": "0.02",
        "aggressor_side": "sell",
        "event_ms": 1_723_161_255_342,
        "received_us": 1_723_161_255_350_000,
        "published_us": 1_723_161_255_350_999,
    }
    return {**message, **fields}


def quote(seq: int, **fields: Any) -> Dict[str, Any]:
    message = {
        **_of("quote:BTC-USDT", seq),
        "bid": "61837.63",
        "bid_quantity": "3.78826",
        "ask": None,
        "ask_quantity": None,
        "update_id": "50093239212",
        "event_ms": None,
        "received_us": 1,
        "published_us": 2,
    }
    return {**message, **fields}


def ticker(seq: int, **fields: Any) -> Dict[str, Any]:
    message = {
        **_of("ticker:BTC-USDT", seq),
        "source": "venue",
        "open": None,
        "high": "62500.5",
        "low": None,
        "last": "61837.63",
        "last_quantity": None,
        "volume": "20123.5",
        "quote_volume": None,
        "count": 412345,
        "first_id": "41",
        "last_id": "412385",
        "bid": None,
        "bid_quantity": None,
        "ask": "61837.63",
        "ask_quantity": None,
        "event_ms": None,
        "received_us": 1,
        "published_us": 2,
    }
    return {**message, **fields}


def alert(seq: int, **fields: Any) -> Dict[str, Any]:
    message = {
        **_of("alert:btc-5:BTC-USDT", seq),
        "rule": "btc-5",
        "type": "move",
        "level": "critical",
        "direction": "up",
        "start_ms": 1_763_697_660_000,
        "end_ms": 1_763_697_661_000,
        "value": "63000",
        "reference": "60000",
        "raised_ms": 1_763_697_663_120,
    }
    return {**message, **fields}
