"""When to connect again: the table of close codes, and delays with full jitter. Pure."""

from __future__ import annotations

import enum
import random
from typing import Callable

#: The longest delay before a connection attempt, in seconds.
DELAY_MAX = 60.0


class Advice(enum.Enum):
    """What a close code asks of the client."""

    #: The server is fine: come back within a second.
    SOON = "soon"
    #: A limit was hit: leave more time.
    BACK_OFF = "back off"
    #: As BACK_OFF, with a new token; without a source of tokens as STOP.
    NEW_TOKEN = "new token"
    #: The gateway would close the same client again.
    STOP = "stop"


_ADVICE = {
    1000: Advice.SOON,
    1001: Advice.SOON,
    1002: Advice.STOP,
    1003: Advice.STOP,
    1007: Advice.STOP,
    1009: Advice.STOP,
    1012: Advice.SOON,
    1013: Advice.BACK_OFF,
    4000: Advice.BACK_OFF,
    4001: Advice.SOON,
    4002: Advice.BACK_OFF,
    4003: Advice.NEW_TOKEN,
    4004: Advice.BACK_OFF,
    4005: Advice.NEW_TOKEN,
    4006: Advice.SOON,
}


def advice(code: int) -> Advice:
    """Say what a close code asks. An unknown code is a lost connection."""
    return _ADVICE.get(code, Advice.SOON)


class Backoff:
    """Counts attempts since the last connection that worked."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._failures = 0

    def worked(self) -> None:
        """Start again: a connection has delivered data for some time."""
        self._failures = 0

    def delay(self, why: Advice) -> float:
        """Say how many seconds to wait before the next attempt."""
        exponent = self._failures if why is Advice.SOON else max(self._failures, 2)
        self._failures = min(self._failures + 1, 16)
        return self._uniform(0.0, min(DELAY_MAX, 2.0**exponent))
