//! The journal: closed bars that the bus keeps until every program that stores them has them.

use std::time::Duration;

use bus::{BusConfig, StreamSpec};
use clap::Args;
use market_core::channel::JOURNAL;

/// Bytes of the journal where nobody says how many: on NATS.
const NATS_BYTES: u64 = 1 << 30;
/// The same on the memory bus, where it takes the program's own memory.
const MEMORY_BYTES: u64 = 64 << 20;

/// How much the journal keeps. Publishers and history need the same values.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// How long the bus keeps closed bars for history, in hours: a history that was down for longer has a hole
    #[arg(
        long,
        env = "KLINECAST_JOURNAL_HOURS",
        default_value_t = JournalConfig::default().journal_hours,
        value_parser = clap::value_parser!(u32).range(1..=87_600),
        value_name = "HOURS"
    )]
    pub journal_hours: u32,

    /// Most bytes of closed bars that the bus keeps for history, the newest ones; a bar takes about 700; 0 for no journal [default: 1 GiB on NATS, 64 MiB on the memory bus]
    #[arg(long, env = "KLINECAST_JOURNAL_BYTES_MAX", value_name = "BYTES")]
    pub journal_bytes_max: Option<u64>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            journal_hours: 72,
            journal_bytes_max: None,
        }
    }
}

impl JournalConfig {
    /// With a bound that suits the bus, where none is set.
    #[must_use]
    pub fn on(self, bus: &BusConfig) -> Self {
        let suitable = match bus.bus.is_memory() {
            true => MEMORY_BYTES,
            false => NATS_BYTES,
        };
        Self {
            journal_bytes_max: self.journal_bytes_max.or(Some(suitable)),
            ..self
        }
    }

    /// The stream of the bus; `None` if no journal is kept.
    #[must_use]
    pub fn stream(&self) -> Option<StreamSpec> {
        let bytes = self.journal_bytes_max.unwrap_or(MEMORY_BYTES);
        (bytes > 0).then(|| StreamSpec {
            root: JOURNAL.root.to_owned(),
            messages_per_subject_max: None,
            messages_max: None,
            bytes_max: Some(bytes),
            age_max: Some(Duration::from_secs(u64::from(self.journal_hours) * 3_600)),
            is_durable: true,
            is_fenced: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        journal: JournalConfig,
        #[command(flatten)]
        bus: BusConfig,
    }

    fn stream(arguments: &[&str]) -> Option<StreamSpec> {
        let arguments = std::iter::once("program").chain(arguments.iter().copied());
        let flags = Flags::try_parse_from(arguments).expect("flags");
        flags.journal.on(&flags.bus).stream()
    }

    #[test]
    fn the_journal_is_bounded_by_age_and_by_bytes_that_suit_the_bus() {
        let memory = stream(&[]).expect("a journal");
        assert_eq!(memory.bytes_max, Some(64 << 20));
        assert_eq!(memory.age_max, Some(Duration::from_secs(72 * 3_600)));
        let nats = stream(&["--bus", "nats://host:4222"]).expect("a journal");
        assert_eq!(nats.bytes_max, Some(1 << 30));
        let set = ["--journal-bytes-max", "5000", "--journal-hours", "1"];
        let set = stream(&set).expect("a journal");
        assert_eq!(set.bytes_max, Some(5_000));
        assert_eq!(set.age_max, Some(Duration::from_secs(3_600)));
        assert_eq!(stream(&["--journal-bytes-max", "0"]), None);
    }
}
