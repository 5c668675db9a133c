"""Where a client stopped in each topic, so that it can go on there on any gateway. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import AbstractSet, Any, Dict, List, Mapping, Optional, Set, Tuple

from .messages import Bar, Live

#: A page of the past may be older than a revision of it: what became known in this time before the
#: newest bar of a broken page is asked for again.
_REVISIONS_AGAIN_MS = 120_000
#: A time in a token: more digits are no time.
_TIME = re.compile("[0-9]{1,16}")


@dataclass
class Place:
    """The place in one topic. Times are unix milliseconds."""

    #: The end of the newest closed bar; None before the first.
    end_ms: Optional[int] = None
    #: When the newest known closed bar or revision became known.
    known_ms: int = 0
    #: Whether pages of the past are still coming.
    is_reading: bool = False
    #: For topics of a pattern: the last publication that was seen.
    epoch: int = 0
    seq: int = 0
    #: When bars were last asked for again because some were missing, in seconds.
    healed_at: Optional[float] = None

    def take(self, bar: Bar) -> bool:
        """Move the place on. False if the client has had this bar already."""
        known_ms = bar.published_us // 1000
        is_live = bar.seq > 0 or bar.epoch > 0
        if is_live:
            self.epoch, self.seq = bar.epoch, bar.seq
        if not bar.is_closed:
            if self.end_ms is None:
                # Without a closed bar, the place is the start of the first bar.
                self.end_ms, self.known_ms = bar.start_ms, known_ms
            return True
        if (
            not self.is_reading
            and not is_live
            and self.end_ms is not None
            and bar.end_ms <= self.end_ms
            and known_ms <= self.known_ms
        ):
            return False
        self.end_ms = bar.end_ms if self.end_ms is None else max(self.end_ms, bar.end_ms)
        self.known_ms = max(self.known_ms, known_ms)
        return True

    def reach(self, live: Live) -> None:
        """Take over the place that the gateway names at the end of the past."""
        self.is_reading = False
        place = parse_token(live.token)
        if place is not None and live.recovered:
            self.end_ms, self.known_ms = place

    def token(self) -> Optional[str]:
        """Where to go on, as a token for ``from``; None before the first bar."""
        if self.end_ms is None:
            return None
        known_ms = self.known_ms - _REVISIONS_AGAIN_MS if self.is_reading else self.known_ms
        return f"k1.{self.end_ms}.{max(0, known_ms)}"


def parse_token(token: Optional[str]) -> Optional[Tuple[int, int]]:
    """Read the two times of a token; None if it is of another form."""
    parts = (token or "").split(".")
    if len(parts) != 3 or parts[0] != "k1" or not all(map(_TIME.fullmatch, parts[1:])):
        return None
    return int(parts[1]), int(parts[2])


@dataclass
class Places:
    """The places of all topics of a subscription."""

    #: The most topics that a pattern may bring in; more are not remembered.
    topics_max: int = 20_000
    by_topic: Dict[str, Place] = field(default_factory=lambda: {})

    def of(self, topic: str) -> Place:
        """The place in a topic, new if it was not seen before."""
        place = self.by_topic.get(topic)
        if place is None:
            place = Place()
            if len(self.by_topic) < self.topics_max:
                self.by_topic[topic] = place
        return place


def groups(topics: List[str], places: Places, size: int) -> List[Tuple[List[str], Optional[str]]]:
    """Divide topics into requests with one token each: the oldest place of the group.

    Topics whose places are close go together, so that few bars come twice.
    """
    known: List[Tuple[int, int, str]] = []
    new: List[str] = []
    for topic in topics:
        place = parse_token(places.of(topic).token())
        if place is None:
            new.append(topic)
        else:
            known.append((place[0], place[1], topic))
    known.sort()
    requests: List[Tuple[List[str], Optional[str]]] = [
        (new[at : at + size], None) for at in range(0, len(new), size)
    ]
    for at in range(0, len(known), size):
        group = known[at : at + size]
        end_ms = min(end for end, _, _ in group)
        known_ms = min(time for _, time, _ in group)
        requests.append(([topic for _, _, topic in group], f"k1.{end_ms}.{known_ms}"))
    return requests


def requests_of_bars(
    topics: List[str], places: Places, start: Optional[Mapping[str, Any]], size: int
) -> List[Dict[str, Any]]:
    """Make the requests of exact topics of bars: each from its place, or from ``start``."""
    requests: List[Dict[str, Any]] = []
    for group, place in groups(topics, places, size):
        if place is not None:
            requests.append({"topics": group, "from": {"token": place}})
        elif start is not None:
            requests.append({"topics": group, "from": start})
        else:
            requests.append({"topics": group})
    return requests


def since_of_others(
    places: Places, exact: AbstractSet[str], size: int
) -> Tuple[Dict[str, Any], Set[str]]:
    """Say where the bars of patterns go on, and name the topics for which that is too many."""
    known = [
        (topic, place)
        for topic, place in places.by_topic.items()
        if topic not in exact and place.epoch > 0
    ]
    unproved = {topic for topic, _ in known[size:]}
    known = known[:size]
    if not known:
        return {}, unproved
    since = {
        "epoch": max(place.epoch for _, place in known),
        "seq": {topic: place.seq for topic, place in known},
        "closed_ms": {topic: place.end_ms for topic, place in known if place.end_ms is not None},
    }
    return {"since": since}, unproved
