//! The newest quotes of the bus, while a rule looks at quotes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, Delivery, Message};
use bytes::Bytes;
use market_core::channel::QUOTE;
use market_core::{Symbol, subject};
use metrics::counter;
use service::Shutdown;
use tokio::sync::watch;
use tracing::warn;

use crate::error::Error;
use crate::wanted::Wanted;

/// Pause after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What was not looked at yet: the newest quote of each symbol. Clones share it.
#[derive(Clone, Default, Debug)]
pub(crate) struct NewestQuotes(Arc<Mutex<HashMap<Symbol, Bytes>>>);

impl NewestQuotes {
    /// Takes a quote in the place of the one before. Of no more than `symbols_max` symbols.
    fn put(&self, symbol: Symbol, payload: Bytes, symbols_max: usize) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() < symbols_max || newest.contains_key(&symbol) {
            newest.insert(symbol, payload);
        } else {
            counter!("alerts_quotes_total", "outcome" => "refused").increment(1);
        }
    }

    /// All that came since the last call.
    pub(crate) fn take(&self) -> HashMap<Symbol, Bytes> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens to the bus.
pub(crate) struct QuoteListener {
    pub(crate) bus: Arc<dyn Bus>,
    /// The rules that look at quotes.
    pub(crate) wanted: watch::Receiver<Arc<Wanted>>,
    pub(crate) newest: NewestQuotes,
    pub(crate) symbols_max: usize,
    pub(crate) shutdown: Shutdown,
}

impl QuoteListener {
    /// Listens until the shutdown.
    ///
    /// # Errors
    /// If the bus will never give quotes, or was drained.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let shutdown = self.shutdown.clone();
        while !shutdown.is_triggered() {
            let outcome = tokio::select! {
                outcome = self.listen() => outcome,
                () = shutdown.triggered() => return Ok(()),
            };
            match outcome {
                Ok(()) => {}
                Err(_) if shutdown.is_triggered() => return Ok(()),
                Err(error) if !error.is_retryable() => return Err(error.into()),
                Err(error) => {
                    warn!(%error, "quotes are not read now, trying again");
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                        () = shutdown.triggered() => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns when the rules have changed.
    async fn listen(&mut self) -> Result<(), BusError> {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        if wanted.is_empty() {
            self.newest.take();
            return self.changed().await;
        }
        let pattern = format!("{}.>", QUOTE.root);
        let mut quotes = self.bus.subscribe(&pattern).await?;
        self.take_retained(&pattern, &wanted).await?;
        loop {
            let delivery = tokio::select! {
                delivery = quotes.recv() => delivery,
                changed = self.wanted.changed() => {
                    return changed.map_err(|_| BusError::Closed);
                }
            };
            match delivery {
                Some(Delivery::Message(message)) => self.take(message, &wanted),
                Some(_) => self.take_retained(&pattern, &wanted).await?,
                None => return Err(BusError::Closed),
            }
        }
    }

    async fn changed(&mut self) -> Result<(), BusError> {
        self.wanted.changed().await.map_err(|_| BusError::Closed)
    }

    async fn take_retained(&self, pattern: &str, wanted: &Wanted) -> Result<(), BusError> {
        for message in self.bus.last_values(pattern).await? {
            self.take(message, wanted);
        }
        Ok(())
    }

    fn take(&self, message: Message, wanted: &Wanted) {
        let topic = subject::to_topic(&message.subject);
        let symbol = topic.as_ref().and_then(|topic| {
            let symbol = QUOTE.rest(topic.as_str(), ':')?;
            symbol.parse::<Symbol>().ok()
        });
        if let Some(symbol) = symbol.filter(|symbol| wanted.has(symbol)) {
            self.newest.put(symbol, message.payload, self.symbols_max);
        }
    }
}
