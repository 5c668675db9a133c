//! The published updates and their subscribers.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{bar, book};

/// The workloads, in the order in which they are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    /// All on the same topics, changing one after another.
    Shared,
    /// Each on its own choice of many topics, changing one after another.
    Random,
    /// All on the same topics, which change all at once.
    Burst,
    /// A change from time to time.
    Trickle,
    /// One in a hundred never reads.
    Nonreaders,
    /// All reconnect within a few seconds.
    Storm,
    /// Order books instead of bars: all on the same ones, changing one after another.
    Books,
}

/// What is published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// A bar.
    Bar,
    /// The best levels of an order book.
    Book,
}

impl Content {
    /// The name of topic number `index` for clients.
    pub(crate) fn topic_name(self, index: u16) -> String {
        match self {
            Self::Bar => bar::topic_name(index),
            Self::Book => book::topic_name(index),
        }
    }

    /// The subject of topic number `index` on the bus.
    pub(crate) fn subject_name(self, index: u16) -> String {
        match self {
            Self::Bar => bar::subject_name(index),
            Self::Book => book::subject_name(index),
        }
    }

    /// A value of the topic, as the market data program encodes it.
    pub(crate) fn encode(self, index: u16, seq: u64, epoch_ms: u64, published_us: u64) -> String {
        match self {
            Self::Bar => bar::encode(index, seq, epoch_ms, published_us),
            Self::Book => book::encode(index, seq, epoch_ms, published_us),
        }
    }
}

impl Name {
    /// What its updates are.
    pub(crate) fn content(self) -> Content {
        match self {
            Self::Books => Content::Book,
            _ => Content::Bar,
        }
    }
}

/// A workload with its sizes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Workload {
    /// Which one.
    pub(crate) name: Name,
    /// Clients.
    pub(crate) connections: u32,
    /// Topics of each client.
    pub(crate) topics: u16,
    /// Topics there are.
    pub(crate) universe: u16,
    /// Updates of each topic a second.
    pub(crate) rate: f64,
    /// Duration of the measurement, s.
    pub(crate) seconds: f64,
}

impl Workload {
    /// The topics of a client, in rising order.
    pub(crate) fn topics_of(&self, client: u32) -> Vec<u16> {
        let count = self.topics.min(self.universe);
        if self.universe == count {
            return (0..count).collect();
        }
        let mut random = SmallRng::seed_from_u64(u64::from(client) + 1);
        let mut topics = Vec::with_capacity(usize::from(count));
        while topics.len() < usize::from(count) {
            let topic = random.random_range(0..self.universe);
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics.sort_unstable();
        topics
    }

    /// Whether a client reads.
    pub(crate) fn is_reader(&self, client: u32) -> bool {
        self.name != Name::Nonreaders || client % 100 != 7
    }

    /// Which topics change when within one second, as parts of the second.
    pub(crate) fn ticks(&self) -> Vec<(Duration, Vec<u16>)> {
        let period = Duration::from_secs_f64(1.0 / self.rate);
        let all: Vec<u16> = (0..self.universe).collect();
        if self.name == Name::Burst {
            return vec![(Duration::ZERO, all)];
        }
        // At most a thousand times a second.
        let ticks = (period.as_secs_f64() * 1_000.0).clamp(1.0, f64::from(self.universe)) as usize;
        let chunk = usize::from(self.universe).div_ceil(ticks);
        let chunks: Vec<Vec<u16>> = all.chunks(chunk).map(<[u16]>::to_vec).collect();
        let count = chunks.len() as u32;
        chunks
            .into_iter()
            .enumerate()
            .map(|(index, topics)| (period * index as u32 / count, topics))
            .collect()
    }

    /// The period after which the ticks repeat.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// The number of updates for readers if each topic was published this often.
    pub(crate) fn expected(&self, published: &[u64]) -> u64 {
        (0..self.connections)
            .filter(|client| self.is_reader(*client))
            .flat_map(|client| self.topics_of(client))
            .map(|topic| published[usize::from(topic)])
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(name: Name, universe: u16, rate: f64) -> Workload {
        Workload {
            name,
            connections: 200,
            topics: 10,
            universe,
            rate,
            seconds: 1.0,
        }
    }

    #[test]
    fn each_client_has_distinct_topics_and_the_same_ones_every_time() {
        let random = workload(Name::Random, 1_000, 1.0);
        for client in 0..200 {
            let topics = random.topics_of(client);
            assert_eq!(topics.len(), 10);
            assert!(topics.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(topics, random.topics_of(client));
        }
        assert_ne!(random.topics_of(1), random.topics_of(2));
        assert_eq!(
            workload(Name::Shared, 10, 1.0).topics_of(3),
            (0..10).collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_topic_changes_once_in_a_period() {
        for (name, universe, rate) in [
            (Name::Random, 1_000, 1.0),
            (Name::Shared, 10, 1.0),
            (Name::Random, 1_000, 7.0),
            (Name::Burst, 10, 1.0),
            (Name::Trickle, 10, 0.2),
        ] {
            let workload = workload(name, universe, rate);
            let ticks = workload.ticks();
            let mut topics: Vec<u16> = ticks
                .iter()
                .flat_map(|(_, topics)| topics.clone())
                .collect();
            topics.sort_unstable();
            assert_eq!(topics, (0..universe).collect::<Vec<_>>());
            assert!(ticks.iter().all(|(at, _)| *at < workload.period()));
            assert!(ticks.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert_eq!(ticks.len() == 1, name == Name::Burst);
        }
    }

    #[test]
    fn those_who_never_read_expect_nothing() {
        let published = vec![1; 10];
        assert_eq!(workload(Name::Shared, 10, 1.0).expected(&published), 2_000);
        assert_eq!(
            workload(Name::Nonreaders, 10, 1.0).expected(&published),
            1_980
        );
    }
}
