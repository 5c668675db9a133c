"""Where a client stopped in topics whose messages come once each: trades and alerts. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, TypeVar, Union

from .values import Alert, Trade

#: The channels of such topics, and where their symbol begins.
_SYMBOL_AT = {"trade": 1, "alert": 2}
#: Topics that are remembered, of those that patterns bring in.
_TOPICS_MAX = 20_000

E = TypeVar("E", bound=Union[Trade, Alert])


class _Place(NamedTuple):
    epoch: int
    seq: int
    exchange: str


def is_log(topic: str) -> bool:
    """Whether each message of a topic or pattern comes once, in order."""
    return topic.partition(":")[0] in _SYMBOL_AT


class LogPlaces:
    """The last message of each topic."""

    def __init__(self) -> None:
        self._by_topic: Dict[str, _Place] = {}

    def take(self, entry: E) -> Optional[E]:
        """Return a message with the number of those that are missing before it.

        None if it has come before. Numbers rise by one within an epoch, so the number is exact also
        where a gateway could not tell it.
        """
        known = self._by_topic.get(entry.topic)
        place = _Place(entry.epoch, entry.seq, entry.exchange)
        if known is not None:
            if place[:2] <= known[:2]:
                return None
            if known.epoch == place.epoch:
                missing = place.seq - known.seq - 1
                if missing > entry.skipped:
                    entry = replace(entry, skipped=missing)
        if known is not None or len(self._by_topic) < _TOPICS_MAX:
            self._by_topic[entry.topic] = place
        return entry

    def requests(
        self, names: Sequence[str], size: int, since_topics: int
    ) -> List[Dict[str, Any]]:
        """Divide topics and patterns into requests, each with where its topics go on.

        A request names one epoch. So topics of one epoch are together, and of the topics of patterns
        those of the most frequent epoch are resumed. The others go on with what is new.
        """
        by_epoch: Dict[Optional[int], List[str]] = {}
        claimed: Dict[str, str] = {}
        for name in names:
            topic = self._topic_of(name)
            if topic is not None:
                claimed[topic] = name
            epoch = None if topic is None else self._by_topic[topic].epoch
            by_epoch.setdefault(epoch, []).append(name)
        requests: List[Dict[str, Any]] = []
        for epoch, group in by_epoch.items():
            for at in range(0, len(group), size):
                part = group[at : at + size]
                if epoch is None:
                    topics = self._of_patterns(claimed, since_topics) if at == 0 else []
                else:
                    wanted = frozenset(part)
                    topics = [topic for topic, name in claimed.items() if name in wanted]
                requests.append({"topics": part, **self._since(topics)})
        return requests

    def _since(self, topics: Sequence[str]) -> Dict[str, Any]:
        if not topics:
            return {}
        places = {topic: self._by_topic[topic] for topic in topics}
        epoch = max(place.epoch for place in places.values())
        seq = {topic: place.seq for topic, place in places.items()}
        return {"since": {"epoch": epoch, "seq": seq}}

    def _of_patterns(self, claimed: Mapping[str, str], count: int) -> List[str]:
        """Return the topics of the most frequent epoch that no exact name asks for."""
        left = {topic: at for topic, at in self._by_topic.items() if topic not in claimed}
        if not left:
            return []
        epoch = Counter(place.epoch for place in left.values()).most_common(1)[0][0]
        return [topic for topic, place in left.items() if place.epoch == epoch][:count]

    def _topic_of(self, name: str) -> Optional[str]:
        """Return the topic under which messages of a name come; None for patterns, and before the first."""
        known = self._by_topic.get(name)
        if known is not None:
            return name
        parts = name.split(":")
        at = _SYMBOL_AT[parts[0]]
        if len(parts) != at + 2:
            return None
        plain = ":".join([*parts[:at], parts[-1]])
        known = self._by_topic.get(plain)
        return plain if known is not None and known.exchange.upper() == parts[at] else None
