//! The reader looks at the newest quotes.

use metrics::counter;

use super::Reader;
use crate::engine::Alert;
use crate::quote::read_quote;

impl Reader {
    pub(super) fn look_at_quotes(&mut self, now_ms: i64) -> Vec<Alert> {
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
        self.engine.tick_quotes(now_ms, oldest_ms)
    }
}
