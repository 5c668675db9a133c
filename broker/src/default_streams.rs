//! The streams that a broker makes by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::units::Period;
use crate::stream_settings::{Retention, Storage, StreamSettings};

/// Their names.
pub(crate) const NAMES: [&str; 3] = ["MARKET_DATA", "SYSTEM_EVENTS", "SERVICE_LOGS"];

const HOUR: Duration = Duration::from_secs(3_600);

/// The default streams of these names; a name that is none of them is left out.
pub(crate) fn named(names: &[String]) -> BTreeMap<String, StreamSettings> {
    let of = |subjects: String, age: Duration, messages: i64| StreamSettings {
        subjects: Some(vec![subjects]),
        retention: Some(Retention::Limits),
        storage: Some(Storage::File),
        max_age: Some(Period(age)),
        max_msgs: Some(messages),
        ..StreamSettings::default()
    };
    let market = market_core::channel::TRADE.subjects();
    let system = market_core::channel::SYSTEM.subjects();
    let all = [
        (NAMES[0], of(market, HOUR, 1_000_000)),
        (NAMES[1], of(system, HOUR * 24, 100_000)),
        (NAMES[2], of("service.>".to_owned(), HOUR * 24 * 7, 500_000)),
    ];
    let wanted = |name: &str| names.iter().any(|wanted| wanted == name);
    all.into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, settings)| (name.to_owned(), settings))
        .collect()
}
