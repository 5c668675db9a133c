//! When the feed of a venue was not live, as its publishers said or did not say. Bars tell which trades
//! are missing; this tells that the venue, its connection or its publisher was away.

mod feeds;
mod store;
mod task;

use std::time::Duration;

use market_core::UnixMillis;
use market_core::wire::{FeedState, FeedStatusMessage};
use serde::Serialize;

pub(crate) use feeds::Feeds;
pub(crate) use store::OutageStore;
pub(crate) use task::follow;

/// Why a feed was not live. The last one counts if there are several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutageReason {
    /// Connected, and nothing came.
    Stale,
    /// Another publisher of the exchange was lost.
    PublisherLost,
    /// Some symbols had no connection.
    Reconnecting,
    /// No publisher said anything.
    NoPublisher,
}

impl OutageReason {
    const ALL: [Self; 4] = [
        Self::Stale,
        Self::PublisherLost,
        Self::Reconnecting,
        Self::NoPublisher,
    ];

    /// As it is written.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::PublisherLost => "publisher_lost",
            Self::Reconnecting => "reconnecting",
            Self::NoPublisher => "no_publisher",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// Why the feed was not live when a publisher said this.
    fn of(message: &FeedStatusMessage) -> Option<Self> {
        match message.state {
            FeedState::Reconnecting => Some(Self::Reconnecting),
            // Others of the exchange say that they are stale then, too.
            FeedState::Stale | FeedState::Live if message.lost_publishers > 0 => {
                Some(Self::PublisherLost)
            }
            FeedState::Stale => Some(Self::Stale),
            FeedState::Live => None,
        }
    }
}

/// A time in which a feed was not live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outage {
    pub(crate) exchange: Box<str>,
    /// First instant.
    pub(crate) from_ms: UnixMillis,
    /// First instant after it; of an outage that lasts, the last instant at which it was seen.
    pub(crate) to_ms: UnixMillis,
    pub(crate) reason: OutageReason,
}

/// When the states were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookTime {
    /// By the clock of this host, which may be set back.
    pub(crate) wall_ms: UnixMillis,
    /// Since history began to follow the feeds.
    pub(crate) elapsed: Duration,
}
