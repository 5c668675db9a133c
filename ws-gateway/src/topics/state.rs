//! A slot: one topic, and its state by the class of its channel.
//!
//! A `series` has bars: the newest forming bar, the last closed bars, and the number of older ones.
//! A topic of the class `latest` has one value: each message replaces the one before, and so does
//! each order book, but the last `books` are held. A `log` has
//! the last entries; each skipped entry is counted. A `stream` has events that are made of other
//! topics.
//!
//! There is no queue here: a session that falls behind takes the newest state, and is told how many
//! closed bars or entries are no longer held.

mod bar;
mod book;
mod books;
mod closed;
mod delta;
mod depth;
mod latest;
mod log;
mod newest;
mod newest_stream;
mod offered;
mod progress;
mod resume_position;
mod series;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use market_core::Topic;
use market_core::protocol::Filter;
use market_core::wire::BarHead;

pub(crate) use self::bar::StreamPosition;
use self::books::Books;
pub(crate) use self::delta::{Delta, delta_within, resume_within, snapshot};
#[cfg(test)]
pub(crate) use self::delta::{delta, resume};
pub(crate) use self::depth::{Depth, Keep};
use self::latest::Latest;
use self::log::Log;
pub(crate) use self::newest::Newest;
pub(crate) use self::newest_stream::{BookBytes, StreamBook};
pub(crate) use self::offered::Offered;
pub(crate) use self::progress::{AfterLate, Progress, Room};
pub(crate) use self::resume_position::ResumePosition;
use self::series::Series;
pub(crate) use self::series::{Reach, Seam};
use self::stream::Stream;
pub(crate) use self::stream::StreamUpdate;

/// One topic and its state.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The topic.
    pub topic: Topic,
    /// Whether its bars are folded here because a session asked for them: only its whole name finds
    /// it, no wildcard, and no list.
    pub is_folded: bool,
    state: Mutex<TopicState>,
}

impl Slot {
    /// The slot of a topic without data.
    #[must_use]
    pub(crate) fn new(topic: Topic) -> Self {
        Self {
            topic,
            is_folded: false,
            state: Mutex::default(),
        }
    }

    /// The same of a topic whose bars are folded here.
    #[must_use]
    pub(crate) fn folded(topic: Topic) -> Self {
        Self {
            is_folded: true,
            ..Self::new(topic)
        }
    }

    /// The state, locked: lock it briefly and never across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, TopicState> {
        self.state.lock().expect("no holder panics")
    }
}

/// The state of one topic. Its first message decides the class.
#[derive(Debug, Default)]
pub(crate) enum TopicState {
    /// Nothing has come.
    #[default]
    Unknown,
    /// Bars.
    Series(Series),
    /// A newest value.
    Latest(Latest),
    /// Order books.
    Books(Books),
    /// Entries.
    Log(Log),
    /// Events that are made of other topics.
    Stream(Stream),
}

impl TopicState {
    /// Takes a value without a position. `version` must be above every version before.
    pub(crate) fn offer_latest(&mut self, payload: Bytes, version: u64) -> Offered {
        self.offer_value(StreamPosition::default(), payload, version)
    }

    /// Takes a value. `version` must be above every version before.
    pub(crate) fn offer_value(
        &mut self,
        position: StreamPosition,
        payload: Bytes,
        version: u64,
    ) -> Offered {
        if !matches!(self, Self::Latest(_)) {
            *self = Self::Latest(Latest::default());
        }
        match self {
            Self::Latest(latest) => latest.offer(position, payload, version),
            Self::Unknown | Self::Series(_) | Self::Books(_) | Self::Log(_) | Self::Stream(_) => {
                Offered::Stale
            }
        }
    }

    /// Takes an order book. `version` must be above every version before.
    pub(crate) fn offer_book(
        &mut self,
        position: StreamPosition,
        payload: Bytes,
        version: u64,
        keep: Keep,
    ) -> Offered {
        if !matches!(self, Self::Books(_)) {
            *self = Self::Books(Books::default());
        }
        match self {
            Self::Books(books) => books.offer(position, payload, version, keep.depth.earlier_books),
            Self::Unknown | Self::Series(_) | Self::Latest(_) | Self::Log(_) | Self::Stream(_) => {
                Offered::Stale
            }
        }
    }

    /// Takes an entry. `version` must be above every version before. `early` rises by the entries
    /// that are released early.
    pub(crate) fn offer_entry(
        &mut self,
        position: StreamPosition,
        payload: Bytes,
        version: u64,
        keep: Keep,
        early: &mut u64,
    ) -> Offered {
        if !matches!(self, Self::Log(_)) {
            *self = Self::Log(Log::default());
        }
        match self {
            Self::Log(log) => log.offer(position, payload, version, keep, early),
            Self::Unknown
            | Self::Series(_)
            | Self::Latest(_)
            | Self::Books(_)
            | Self::Stream(_) => Offered::Stale,
        }
    }

    /// Takes what has come for a stream of this name. `version` must be above every version before.
    pub(crate) fn offer_stream(
        &mut self,
        name: &Arc<str>,
        update: StreamUpdate,
        version: u64,
        books_max: usize,
    ) -> Offered {
        if !matches!(self, Self::Stream(_)) {
            *self = Self::Stream(Stream::new(Arc::clone(name)));
        }
        match self {
            Self::Stream(stream) => stream.offer(update, version, books_max),
            Self::Unknown | Self::Series(_) | Self::Latest(_) | Self::Books(_) | Self::Log(_) => {
                Offered::Stale
            }
        }
    }

    /// Takes a bar. `version` must be above every version before. `early` rises by the closed bars
    /// that are released early.
    pub(crate) fn offer_bar(
        &mut self,
        head: &BarHead<'_>,
        payload: Bytes,
        version: u64,
        keep: Keep,
        early: &mut u64,
    ) -> Offered {
        if !matches!(self, Self::Series(_)) {
            *self = Self::Series(Series::default());
        }
        match self {
            Self::Series(series) => series.offer(head, payload, version, keep, early),
            Self::Unknown | Self::Latest(_) | Self::Books(_) | Self::Log(_) | Self::Stream(_) => {
                Offered::Stale
            }
        }
    }

    /// The newest forming bar or value, as a shard freezes it for a flush.
    #[must_use]
    pub(crate) fn newest(&self) -> Option<Newest> {
        match self {
            Self::Unknown | Self::Log(_) => None,
            Self::Series(series) => series.newest(),
            Self::Latest(latest) => latest.newest(),
            Self::Books(books) => books.newest(),
            Self::Stream(stream) => stream.newest().map(Newest::stream),
        }
    }

    /// The publications that are held of a topic, the newest last; of a log, the last
    /// [`log::FOLLOWED_MAX`], and of bars the last [`series::FOLLOWED_MAX`] closed ones and the forming one.
    #[must_use]
    pub(crate) fn publications(&self) -> Vec<Bytes> {
        match self {
            Self::Books(books) => books.publications(),
            Self::Log(log) => log.publications(),
            Self::Series(series) => series.publications(),
            other => {
                let newest = other.newest();
                newest
                    .map(|newest| newest.payload.json().clone())
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Appends the bars up to version `seen` that some sessions that have seen all up to there lack
    /// after a late one.
    pub(crate) fn after_late(&self, seen: u64, upto: u64, bars: &mut Vec<AfterLate>) {
        if let Self::Series(series) = self {
            series.closed.after_late(seen, upto, bars);
        }
    }

    /// The held bars beside the past of a client that has all closed bars which end at `after_ms` or
    /// before. A topic without bars has nothing.
    #[must_use]
    pub(crate) fn seam(
        &self,
        newest: Option<&Newest>,
        upto: u64,
        filter: Filter,
        after_ms: Option<i64>,
    ) -> Seam {
        match self {
            Self::Series(series) => series.seam(newest, upto, filter, after_ms),
            Self::Unknown | Self::Latest(_) | Self::Books(_) | Self::Log(_) | Self::Stream(_) => {
                Seam::default()
            }
        }
    }

    /// The hold time of a version of a closed bar, or of an entry, is over. True if it is no longer
    /// held.
    pub(crate) fn let_go(&mut self, start_ms: i64, version: u64, keep: Keep) -> bool {
        match self {
            Self::Series(series) => series.let_go(start_ms, version, keep),
            Self::Log(log) => log.let_go(version, keep),
            Self::Unknown | Self::Latest(_) | Self::Books(_) | Self::Stream(_) => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A bar's head and payload: 1 s bars, numbered by `index`.
    pub(crate) fn bar(index: i64, seq: u64, epoch: u64, closed: bool) -> (BarHead<'static>, Bytes) {
        let head = BarHead {
            seq,
            epoch,
            start_ms: index * 1_000,
            end_ms: (index + 1) * 1_000,
            closed,
            rev: 0,
            filled: false,
            exchange: "binance",
        };
        let state = if closed { "closed" } else { "forming" };
        let payload = format!(
            r#"{{"topic":"kline:1s:A-B","seq":{seq},"epoch":{epoch},"start_ms":{},"end_ms":{},"state":"{state}","rev":0,"quality":"complete"}}"#,
            head.start_ms, head.end_ms,
        );
        (head, Bytes::from(payload))
    }
}

#[cfg(test)]
mod tests;
