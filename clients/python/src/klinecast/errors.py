"""The errors that a caller can see."""

from __future__ import annotations

from typing import Sequence


class KlinecastError(Exception):
    """Any error of this package."""


class RequestRefused(KlinecastError):
    """The gateway refused a subscription: repeating it would not help."""

    def __init__(self, code: str, message: str, topics: Sequence[str] = ()) -> None:
        super().__init__(f"{code}: {message}")
        #: The code of the protocol, such as ``bad_topic``.
        self.code = code
        #: The topics that are refused; empty if it is all of them.
        self.topics = tuple(topics)


class ConnectionRefused(KlinecastError):
    """The gateway closed the connection or refused it in a way that a retry would not change."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        #: The close code of the WebSocket, or the status of the refused handshake.
        self.code = code


class HistoryError(KlinecastError):
    """The server refused a question about the past."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        #: The HTTP status.
        self.status = status
        #: The code of the answer, such as ``bad_width``.
        self.code = code
