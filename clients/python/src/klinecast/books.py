"""The order books of a subscription: kept, changed and checked."""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import replace
from typing import Deque, Dict, List, Optional, Tuple

from .fields import BadMessage
from .messages import Book, BookChanges, Level

#: Order books that are remembered, to change them and to say that they are not right without a
#: connection.
BOOKS_MAX = 20_000
#: Levels of each side that a checksum covers.
_CHECKSUM_LEVELS = 10


def _changed(
    levels: Tuple[Level, ...], changes: Tuple[Level, ...], depth: Optional[int], is_bids: bool
) -> Tuple[Level, ...]:
    # The levels beyond the depth are not followed, so they must not come back.
    after = {level.price: level for level in levels[:depth]}
    for change in changes:
        if change.quantity > 0:
            after[change.price] = change
        elif after.pop(change.price, None) is None:
            raise BadMessage("a level of a book is gone that was not there")
    return tuple(sorted(after.values(), key=lambda level: level.price, reverse=is_bids))


def checksum(book: Book) -> int:
    """Compute the CRC-32 of the best ten bids and asks, as the protocol defines it."""
    best: List[Level] = [*book.bids[:_CHECKSUM_LEVELS], *book.asks[:_CHECKSUM_LEVELS]]
    text = "".join(f"{level.price:f}:{level.quantity:f}," for level in best)
    return zlib.crc32(text.encode())


class Books:
    """The valid books of a connection. Without a connection, none of them is right."""

    def __init__(self) -> None:
        """Begin without books."""
        self._valid: Dict[str, Book] = {}
        self._lost: Deque[Book] = deque()

    def take(self, book: Book) -> Book:
        """Remember a whole book."""
        self._valid.pop(book.topic, None)
        if book.is_valid and len(self._valid) < BOOKS_MAX:
            self._valid[book.topic] = book
        return book

    def change(self, changes: BookChanges) -> Book:
        """Change a book, and say what it is now.

        Raises:
            BadMessage: the changes are not those of the book that is here. The next connection
                brings the whole book.
        """
        before = self._valid.get(changes.topic)
        if before is None or (before.epoch, before.seq) != (changes.epoch, changes.prev_seq):
            raise BadMessage("the changes of a book do not follow the book")
        book = replace(
            before,
            seq=changes.seq,
            update_id=changes.update_id,
            bids=_changed(before.bids, changes.bids, changes.depth, True),
            asks=_changed(before.asks, changes.asks, changes.depth, False),
            event_ms=changes.event_ms,
            received_us=changes.received_us,
            published_us=changes.published_us,
        )
        is_crossed = book.bids and book.asks and book.bids[0].price >= book.asks[0].price
        if is_crossed or checksum(book) != changes.checksum:
            raise BadMessage("a book is not right after its changes")
        return self.take(book)

    def end(self) -> None:
        """Lose all books: the connection has ended."""
        self._lost.extend(book.disconnected() for book in self._valid.values())
        self._valid.clear()

    def next_lost(self) -> Optional[Book]:
        """Take the next book that is to be said to be invalid, if there is one."""
        return self._lost.popleft() if self._lost else None
