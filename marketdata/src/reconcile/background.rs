//! The running program's own check: continuously compares published bars with the venue's klines.
//!
//! One task for each venue checks its symbols in turn, with at most a tenth of the venue's REST
//! budget. Our side is the bars that the bus retains in `closed.*`, that is, the bars that a new
//! client gets. A difference counts once it is seen in two rounds, because the venue's klines lag
//! and a revision may be on its way. If the venue has more trades, the pipeline is asked to look
//! for trades that it missed or gave up. Trades that it finds come as a revision, `backfilled`.
//! Trades that were counted cannot be removed, so any other difference is only reported, as
//! `venue_differs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use market_core::wire::BarMessage;
use market_core::{Symbol, Timeframe, UnixMillis, subject};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::compare::{Cause, Difference, Verdict, compare};
use super::exact::Exact;
use crate::backfill::client::RestClient;
use crate::exchange::{Exchange, VenueBar};
use crate::feed::symbols::SymbolBoard;
use crate::inbox::{Inbox, Input};
use crate::instrument::InstrumentId;

/// The share of a venue's REST budget for the rounds: one part in this many.
const BUDGET_PART: i64 = 10;
/// Most bars of a symbol that one round checks.
const BARS_MAX: i64 = 100;
/// Number of rounds after which a difference is reported.
const TOLD_AT: u32 = 2;
/// Number of rounds after which a bar is no longer checked.
const SIGHTINGS_MAX: u32 = 12;

/// One venue's rounds.
pub struct Reconciler {
    /// What the venue speaks.
    pub exchange: &'static dyn Exchange,
    /// The REST client, shared with the backfills and their budget.
    pub client: Arc<RestClient>,
    /// Where the published bars are.
    pub bus: Arc<dyn Bus>,
    /// The compared instruments, as far as they are ours.
    pub watched: Vec<Watched>,
    /// What is ours.
    pub board: Arc<SymbolBoard>,
    /// Which bars.
    pub timeframe: Timeframe,
    /// The shortest duration of a round.
    pub interval: Duration,
}

/// A symbol to check.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its id in the plan.
    pub instrument: InstrumentId,
    /// Our name of it.
    pub symbol: Symbol,
    /// The venue's.
    pub native: String,
    /// Its worker's.
    pub inbox: Inbox,
}

/// The state of one symbol's bars.
#[derive(Debug, Default)]
struct Ledger {
    /// Bars that start before this were checked.
    settled_ms: UnixMillis,
    /// Bars that differed, and how often this was seen.
    doubts: BTreeMap<UnixMillis, u32>,
}

/// A round's result for one bar.
#[derive(Debug, PartialEq)]
enum Finding {
    Equal,
    /// Our bar says that it was joined midway.
    Partial,
    /// It differed, but no longer does.
    Healed,
    Mismatch {
        start_ms: UnixMillis,
        cause: Cause,
        differences: Vec<Difference>,
        has_venue_more: bool,
        /// Reported for the first time; later, only the trades are requested again.
        is_new: bool,
    },
}

impl Ledger {
    /// The first bar to check, if `newest_ms` is the start of our newest bar.
    fn first_ms(&self, timeframe: Timeframe, newest_ms: UnixMillis) -> UnixMillis {
        let width_ms = timeframe.end_of(newest_ms) - newest_ms;
        let oldest_ms = timeframe.start_of(newest_ms - (BARS_MAX - 1) * width_ms);
        let doubted = self.doubts.keys().next().copied();
        doubted
            .unwrap_or(self.settled_ms)
            .min(self.settled_ms)
            .max(oldest_ms)
    }

    /// Compares the bars that both sides have between our first and our newest bar.
    fn judge(
        &mut self,
        timeframe: Timeframe,
        ours: &BTreeMap<UnixMillis, BarMessage>,
        venue: &BTreeMap<UnixMillis, VenueBar>,
    ) -> Vec<Finding> {
        let (Some(&oldest_ms), Some(&newest_ms)) = (ours.keys().next(), ours.keys().next_back())
        else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        let mut start_ms = self.first_ms(timeframe, newest_ms).max(oldest_ms);
        self.doubts = self.doubts.split_off(&start_ms);
        while start_ms <= newest_ms {
            let sightings = self.doubts.get(&start_ms).copied();
            if sightings.is_some() || start_ms >= self.settled_ms {
                let (ours, venue) = (ours.get(&start_ms), venue.get(&start_ms));
                findings.extend(self.judge_bar(start_ms, sightings, ours, venue));
            }
            start_ms = timeframe.end_of(start_ms);
        }
        self.settled_ms = self.settled_ms.max(start_ms);
        findings
    }

    fn judge_bar(
        &mut self,
        start_ms: UnixMillis,
        sightings: Option<u32>,
        ours: Option<&BarMessage>,
        venue: Option<&VenueBar>,
    ) -> Option<Finding> {
        let (cause, differences) = match compare(ours, venue) {
            Verdict::Mismatch(Cause::Partial, _) => {
                self.doubts.remove(&start_ms);
                return Some(Finding::Partial);
            }
            Verdict::Mismatch(cause, differences) => (cause, differences),
            Verdict::Equal => {
                let was_told = self
                    .doubts
                    .remove(&start_ms)
                    .is_some_and(|sightings| sightings >= TOLD_AT);
                return Some(if was_told {
                    Finding::Healed
                } else {
                    Finding::Equal
                });
            }
        };
        let sightings = sightings.unwrap_or(0) + 1;
        if sightings < SIGHTINGS_MAX {
            self.doubts.insert(start_ms, sightings);
        } else {
            self.doubts.remove(&start_ms);
        }
        let has_venue_more = has_venue_more(cause, &differences);
        let is_new = sightings == TOLD_AT;
        (is_new || has_venue_more && sightings > TOLD_AT).then_some(Finding::Mismatch {
            start_ms,
            cause,
            differences,
            has_venue_more,
            is_new,
        })
    }
}

/// Whether missing trades can explain it.
fn has_venue_more(cause: Cause, differences: &[Difference]) -> bool {
    matches!(cause, Cause::MissingBar | Cause::Gap)
        || differences.iter().any(|found| {
            let value = |text: &Option<String>| text.as_deref().and_then(Exact::parse);
            matches!(found.field, "count" | "volume") && value(&found.venue) > value(&found.ours)
        })
}

impl Reconciler {
    /// Goes round until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let exchange = self.exchange.name();
        let asked = |native: &str| self.exchange.bars_page(native, self.timeframe, 0, 0);
        let Some(request) = self.watched.first().and_then(|first| asked(&first.native)) else {
            info!(exchange, timeframe = %self.timeframe, "the venue has no bars of this timeframe, so nothing is reconciled");
            stop.cancelled().await;
            return;
        };
        let limits = self.exchange.limits();
        let share_ms = limits.rest_window_ms * i64::from(request.weight) * BUDGET_PART
            / i64::from(limits.rest_weight_max.max(1));
        let even = self.interval / u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        let pause = even.max(Duration::from_millis(share_ms.unsigned_abs()));
        let mut ledgers: Vec<Ledger> = self.watched.iter().map(|_| Ledger::default()).collect();
        loop {
            for (watched, ledger) in self.watched.iter().zip(&mut ledgers) {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                if !self.board.is_held(watched.instrument) {
                    continue;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.look(watched, ledger) => {}
                }
            }
        }
    }

    async fn look(&self, watched: &Watched, ledger: &mut Ledger) {
        let exchange = self.exchange.name();
        let subject = subject::closed_bars(self.timeframe, &watched.symbol);
        let Ok(messages) = self.bus.last_values(&subject).await else {
            // The bus reports its outages itself.
            return;
        };
        let ours = effective(messages.iter().map(|message| &*message.payload));
        let Some(&newest_ms) = ours.keys().next_back() else {
            return;
        };
        let oldest_ms = ours.keys().next().copied().unwrap_or(newest_ms);
        let from_ms = ledger.first_ms(self.timeframe, newest_ms).max(oldest_ms);
        let page = self
            .exchange
            .bars_page(&watched.native, self.timeframe, from_ms, newest_ms);
        let Some(request) = page.filter(|_| from_ms <= newest_ms) else {
            return;
        };
        let body = match self.client.get(&request).await {
            Ok(body) => body,
            Err(error) => {
                debug!(exchange, symbol = watched.symbol.as_str(), error = %error, "no klines this round");
                return;
            }
        };
        let venue = match self.exchange.parse_bars_page(&body) {
            Ok(bars) => bars.into_iter().map(|bar| (bar.start_ms, bar)).collect(),
            Err(error) => {
                warn!(exchange, symbol = watched.symbol.as_str(), error = %error, "klines cannot be read");
                return;
            }
        };
        for finding in ledger.judge(self.timeframe, &ours, &venue) {
            self.tell(watched, finding);
        }
    }

    fn tell(&self, watched: &Watched, finding: Finding) {
        let exchange = self.exchange.name();
        let count = |result: &'static str| {
            metrics::counter!("marketdata_reconciled_bars_total", "exchange" => exchange, "result" => result)
                .increment(1);
        };
        let (start_ms, cause, differences, has_venue_more, is_new) = match finding {
            Finding::Equal => return count("equal"),
            Finding::Partial => return count("partial"),
            Finding::Healed => return count("healed"),
            Finding::Mismatch {
                start_ms,
                cause,
                differences,
                has_venue_more,
                is_new,
            } => (start_ms, cause, differences, has_venue_more, is_new),
        };
        if is_new {
            count("mismatch");
            let cause = match cause {
                Cause::FieldDiffers => "venue_differs",
                cause => cause.name(),
            };
            metrics::counter!("marketdata_reconcile_mismatches_total", "exchange" => exchange, "cause" => cause)
                .increment(1);
            warn!(
                exchange,
                symbol = watched.symbol.as_str(),
                timeframe = %self.timeframe,
                start_ms,
                cause,
                differences = ?differences,
                is_refetched = has_venue_more,
                "a bar differs from the venue's own"
            );
        }
        if has_venue_more {
            // Inputs that do not fit are seen again in the next round.
            let _ = watched.inbox.try_send(Input::Refetch {
                instrument: watched.instrument,
                from_ms: start_ms,
                to_ms: self.timeframe.end_of(start_ms),
            });
        }
    }
}

/// The last revision of each bar. Revisions count within an epoch: after a restart they begin at 0
/// again.
pub(super) fn effective<'a>(
    payloads: impl Iterator<Item = &'a [u8]>,
) -> BTreeMap<UnixMillis, BarMessage> {
    let mut bars: BTreeMap<UnixMillis, BarMessage> = BTreeMap::new();
    for payload in payloads {
        let Ok(bar) = serde_json::from_slice::<BarMessage>(payload) else {
            continue;
        };
        if bars
            .get(&bar.start_ms)
            .is_none_or(|before| (before.epoch, before.rev) <= (bar.epoch, bar.rev))
        {
            bars.insert(bar.start_ms, bar);
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars of a minute each, from 0 on; `(count, quality)`.
    fn ours(bars: &[(u64, &str)]) -> BTreeMap<UnixMillis, BarMessage> {
        let json = bars.iter().enumerate().map(|(minute, (count, quality))| {
            format!(
                r#"{{"symbol":"A-B","interval":"1m","start_ms":{},"open":"1","high":"1","low":"1","close":"1","volume":"{count}","quote_volume":"{count}","taker_buy_volume":"0","taker_buy_quote_volume":"0","count":{count},"state":"closed","rev":0,"quality":"{quality}"}}"#,
                minute * 60_000
            )
        });
        let json: Vec<String> = json.collect();
        effective(json.iter().map(String::as_bytes))
    }

    fn venue(counts: &[u64]) -> BTreeMap<UnixMillis, VenueBar> {
        let bar = |(minute, count): (usize, &u64)| {
            let start_ms = minute as i64 * 60_000;
            let one = || "1.0".to_owned();
            let bar = VenueBar {
                start_ms,
                open: one(),
                high: one(),
                low: one(),
                close: one(),
                volume: format!("{count}.0"),
                quote_volume: None,
                count: Some(*count),
                taker_buy_volume: None,
                taker_buy_quote_volume: None,
            };
            (start_ms, bar)
        };
        counts.iter().enumerate().map(bar).collect()
    }

    /// A round's findings, `cause+` where the trades are to be refetched.
    fn round(ledger: &mut Ledger, bars: &[(u64, &str)], counts: &[u64]) -> Vec<String> {
        let findings = ledger.judge(Timeframe::MINUTE, &ours(bars), &venue(counts));
        let findings = findings.into_iter().map(|finding| match finding {
            Finding::Mismatch {
                cause,
                has_venue_more,
                start_ms,
                ..
            } => {
                let refetch = if has_venue_more { "+" } else { "" };
                format!("{}{refetch}@{}", cause.name(), start_ms / 60_000)
            }
            finding => format!("{finding:?}").to_lowercase(),
        });
        findings.collect()
    }

    #[test]
    fn a_bar_of_a_later_epoch_counts_though_its_revision_is_lower() {
        let bar = |epoch: u64, rev: u32, count: u64| {
            format!(
                r#"{{"symbol":"A-B","epoch":{epoch},"interval":"1m","start_ms":0,"open":"1","high":"1","low":"1","close":"1","volume":"1","quote_volume":"1","taker_buy_volume":"0","taker_buy_quote_volume":"0","count":{count},"state":"closed","rev":{rev},"quality":"complete"}}"#
            )
        };
        let bars = [bar(7, 1, 3), bar(8, 0, 5), bar(7, 2, 4)];
        let bars = effective(bars.iter().map(String::as_bytes));
        assert_eq!(bars[&0].count, Some(5));
    }

    const DONE: &str = "complete";

    #[test]
    fn a_difference_is_told_when_seen_twice_and_healed_when_gone() {
        let mut ledger = Ledger::default();
        let two = [(2, DONE), (3, "gap")];
        assert_eq!(round(&mut ledger, &two, &[2, 4]), ["equal"]);
        assert_eq!(round(&mut ledger, &two, &[2, 4]), ["gap+@1"]);
        // Asked for again, for the first answer may have been no better than before.
        assert_eq!(round(&mut ledger, &two, &[2, 4]), ["gap+@1"]);
        let healed = [(2, DONE), (4, "backfilled"), (1, DONE)];
        assert_eq!(round(&mut ledger, &healed, &[2, 4, 1]), ["healed", "equal"]);
        assert!(round(&mut ledger, &healed, &[2, 4, 1]).is_empty());
    }

    #[test]
    fn klines_that_lag_are_no_difference() {
        let mut ledger = Ledger::default();
        let two = [(2, DONE), (3, DONE)];
        assert_eq!(round(&mut ledger, &two, &[2]), ["equal"]);
        assert_eq!(round(&mut ledger, &two, &[2, 3]), ["equal"]);
    }

    #[test]
    fn what_no_refetch_can_mend_is_told_once_and_left() {
        let mut ledger = Ledger::default();
        let one = [(5, DONE)];
        let mut told = Vec::new();
        for _ in 0..20 {
            told.extend(round(&mut ledger, &one, &[4]));
        }
        assert_eq!(told, ["field_differs@0"]);
        assert!(ledger.doubts.is_empty());
    }

    #[test]
    fn a_bar_joined_midway_is_no_fault() {
        let mut ledger = Ledger::default();
        assert_eq!(round(&mut ledger, &[(2, "partial")], &[9]), ["partial"]);
        assert!(round(&mut ledger, &[(2, "partial")], &[9]).is_empty());
    }

    #[test]
    fn only_the_newest_bars_are_looked_at_after_a_long_outage() {
        let mut ledger = Ledger::default();
        let mut bars = ours(&[(1, DONE)]);
        let late = BarMessage {
            start_ms: 60_000_000_000,
            ..bars[&0].clone()
        };
        bars.insert(late.start_ms, late);
        let findings = ledger.judge(Timeframe::MINUTE, &bars, &venue(&[1]));
        assert!(findings.len() < 100 && ledger.doubts.len() <= 1);
    }
}
