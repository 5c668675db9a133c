//! The channels that some session has wanted.
//!
//! The bus carries more trades than anything else, and most gateways have no client for them. So a
//! gateway subscribes to such a channel when the first session wants it, and keeps the subscription.

use market_core::TopicPattern;
use market_core::channel::{CHANNELS, Channel};
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub(crate) struct Demand {
    /// In the order of the table.
    is_wanted: watch::Sender<[bool; CHANNELS.len()]>,
}

impl Default for Demand {
    fn default() -> Self {
        Self {
            is_wanted: watch::Sender::new([false; CHANNELS.len()]),
        }
    }
}

impl Demand {
    /// A session subscribes to these.
    pub(crate) fn want(&self, patterns: &[TopicPattern]) {
        let roots = |pattern: &TopicPattern| {
            let root = pattern.as_str().split(':').next().unwrap_or_default();
            CHANNELS.map(|channel| channel.is_on_demand && (root == "*" || root == channel.root))
        };
        let mut wanted = [false; CHANNELS.len()];
        for pattern in patterns {
            for (all, one) in wanted.iter_mut().zip(roots(pattern)) {
                *all |= one;
            }
        }
        self.is_wanted.send_if_modified(|known| {
            let mut is_new = false;
            for (known, wanted) in known.iter_mut().zip(wanted) {
                is_new |= wanted && !*known;
                *known |= wanted;
            }
            is_new
        });
    }

    /// Completes when a session has wanted the channel.
    pub(crate) async fn wanted(&self, channel: &Channel) {
        let Some(at) = CHANNELS.iter().position(|row| row.root == channel.root) else {
            return;
        };
        let mut changes = self.is_wanted.subscribe();
        // The sender is ours, so the wait ends only with a demand.
        let _ = changes.wait_for(|wanted| wanted[at]).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use market_core::channel::TRADE;

    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], expected: bool) {
        let patterns: Vec<TopicPattern> = patterns
            .iter()
            .map(|text| text.parse().expect("a pattern"))
            .collect();
        let demand = Demand::default();
        demand.want(&patterns);
        let is_wanted = demand.wanted(&TRADE).now_or_never().is_some();
        assert_eq!(is_wanted, expected, "{patterns:?}");
    }

    #[test]
    fn a_channel_is_wanted_from_the_first_pattern_that_can_match_it() {
        check(&[], false);
        check(&["kline:1m:*", "system:>"], false);
        check(&["kline:1m:*", "trade:BTC-USD"], true);
        check(&["trade:*"], true);
        check(&["*:>"], true);
    }
}
