//! The reader looks at what time alone can fire: silences, and the newest quotes.

use metrics::{counter, gauge};

use super::Reader;
use crate::engine::{Alert, Engine, Looked, Turn};
use crate::quote::read_quote;

/// Watches between two turns of other tasks.
const LOOKS_PER_TURN: usize = 1_024;

impl Reader {
    /// All bars with trades have been offered until `known_ms`. Raises at most `room` alerts.
    pub(super) async fn look_at_silences(&mut self, known_ms: i64, room: u64) -> Vec<Alert> {
        self.look("stale", room, |engine, turn| engine.tick(known_ms, turn))
            .await
    }

    /// Raises at most `room` alerts.
    pub(super) async fn look_at_quotes(&mut self, now_ms: i64, room: u64) -> Vec<Alert> {
        if self.engine.wanted_quotes().is_empty() {
            return Vec::new();
        }
        let age_ms = i64::try_from(self.config.alerts_quote_age_ms).unwrap_or(i64::MAX);
        let oldest_ms = now_ms.saturating_sub(age_ms);
        for (symbol, payload) in self.quotes.take() {
            let outcome = match read_quote(&payload) {
                Ok(quote) => {
                    // The bus keeps the newest quote of a symbol for ever: an old one starts nothing.
                    let quote = quote.filter(|quote| quote.received_ms >= oldest_ms);
                    let quote = quote.map(|mut quote| {
                        // Also of a publisher whose clock is ahead, a quote grows old.
                        quote.received_ms = quote.received_ms.min(now_ms);
                        quote
                    });
                    match self.engine.offer_quote(&symbol, quote) {
                        true => "watched",
                        false => "refused",
                    }
                }
                Err(_) => "unreadable",
            };
            counter!("alerts_quotes_total", "outcome" => outcome).increment(1);
        }
        self.look("spread", room, |engine, turn| {
            engine.tick_quotes(now_ms, oldest_ms, turn)
        })
        .await
    }

    /// Goes on with a round, at most to its end.
    async fn look(
        &mut self,
        kind: &'static str,
        room: u64,
        look: impl Fn(&mut Engine, Turn) -> Looked,
    ) -> Vec<Alert> {
        let alerts_max = usize::try_from(room).unwrap_or(usize::MAX);
        let (mut looks, mut raised) = (self.config.alerts_looks_max, Vec::new());
        loop {
            let turn = Turn {
                looks_max: looks.min(LOOKS_PER_TURN),
                alerts_max: alerts_max.saturating_sub(raised.len()),
            };
            let looked = look(&mut self.engine, turn);
            looks = looks.saturating_sub(looked.looks);
            raised.extend(looked.alerts);
            if looked.waiting == 0 || looks == 0 || raised.len() >= alerts_max {
                gauge!("alerts_watches_waiting", "type" => kind).set(looked.waiting as f64);
                return raised;
            }
            tokio::task::yield_now().await;
        }
    }
}
