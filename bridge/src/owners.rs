//! Who publishes a symbol. The topics of clients have no exchange in their names, so a symbol has one
//! source: a marketdata, which has a lease, or one exchange of Kafka, which claims it on the bus.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Append, Bus, BusError, Delivery, Expected, Message, Subscription};
use bytes::Bytes;
use market_core::{Symbol, subject};
use serde::{Deserialize, Serialize};

/// How long a lease counts after its release: the next marketdata takes it within that time.
const RELEASED_MS: i64 = 60_000;
/// How often all leases are read again: an announcement can overtake the stream.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Owners {
    bus: Arc<dyn Bus>,
    announced: Subscription,
    looked_at: Instant,
    leases: Leases,
    /// Exchanges of Kafka by symbol.
    claims: HashMap<String, String>,
    claims_max: usize,
}

/// The leases of instruments, by symbol and exchange; pure.
#[derive(Debug, Default)]
struct Leases(HashMap<String, BTreeMap<String, Tenure>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    Held,
    ReleasedAt { unix_ms: i64 },
}

#[derive(Deserialize)]
struct Holder {
    holder: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Claim {
    exchange: String,
}

impl Leases {
    /// Notes what the stream has. A text that is no lease counts as one that is held.
    fn note(&mut self, lease: &Message) {
        let Some((exchange, symbol)) = subject::of_lease(&lease.subject) else {
            return;
        };
        let at = lease.position.as_deref();
        let stored_ms = at.map_or(0, |at| at.stored_ns / 1_000_000);
        let tenure = match serde_json::from_slice::<Holder>(&lease.payload) {
            Ok(Holder { holder: None }) => Tenure::ReleasedAt {
                unix_ms: i64::try_from(stored_ms).unwrap_or(i64::MAX),
            },
            _ => Tenure::Held,
        };
        let of_symbol = self.0.entry(symbol).or_default();
        of_symbol.insert(exchange.to_owned(), tenure);
    }

    /// An exchange whose marketdata publishes a symbol.
    fn exchange_of(&self, symbol: &str, now_ms: i64) -> Option<&str> {
        let held = self.0.get(symbol)?.iter().find(|(_, tenure)| match tenure {
            Tenure::Held => true,
            Tenure::ReleasedAt { unix_ms } => now_ms.saturating_sub(*unix_ms) < RELEASED_MS,
        });
        held.map(|(exchange, _)| exchange.as_str())
    }
}

impl Owners {
    /// Follows the leases.
    ///
    /// # Errors
    /// As [`Bus::subscribe`] and [`Bus::last_values`].
    pub(crate) async fn follow(bus: Arc<dyn Bus>, claims_max: usize) -> Result<Owners, BusError> {
        // Before the first look, so that no change falls between.
        let announced = bus.subscribe(&subject::all_leases()).await?;
        let mut owners = Owners {
            bus,
            announced,
            looked_at: Instant::now(),
            leases: Leases::default(),
            claims: HashMap::new(),
            claims_max,
        };
        owners.look().await?;
        Ok(owners)
    }

    async fn look(&mut self) -> Result<(), BusError> {
        let mut leases = Leases::default();
        for lease in self.bus.last_values(&subject::all_leases()).await? {
            leases.note(&lease);
        }
        self.leases = leases;
        self.looked_at = Instant::now();
        Ok(())
    }

    /// Takes in what has changed since the last call.
    ///
    /// # Errors
    /// As [`Bus::last_values`] and [`bus::StreamStore::last`].
    pub(crate) async fn update(&mut self) -> Result<(), BusError> {
        let mut is_due = self.looked_at.elapsed() > LOOK_INTERVAL;
        while let Some(delivery) = self.announced.try_recv() {
            match delivery {
                // What the stream refuses is announced, too: somebody else has the lease then.
                Delivery::Message(lease) => {
                    let holder = serde_json::from_slice::<Holder>(&lease.payload).ok();
                    if holder.is_none_or(|lease| lease.holder.is_some()) {
                        self.leases.note(&lease);
                        continue;
                    }
                    match self.bus.streams().last(&lease.subject).await? {
                        Some(kept) => self.leases.note(&kept),
                        None => is_due = true,
                    }
                }
                Delivery::Lagged { .. } | Delivery::Reconnected => is_due = true,
            }
        }
        match is_due {
            true => self.look().await,
            false => Ok(()),
        }
    }

    /// Why records of an exchange must not be published for a symbol; `None` if they may be. The
    /// first exchange that asks has it from then on.
    ///
    /// # Errors
    /// As [`bus::StreamStore::append`].
    pub(crate) async fn refusal(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        now_ms: i64,
    ) -> Result<Option<String>, BusError> {
        if let Some(other) = self.leases.exchange_of(symbol.as_str(), now_ms) {
            return Ok(Some(format!(
                "marketdata publishes {symbol} of {other} itself"
            )));
        }
        let owner = match self.claims.get(symbol.as_str()) {
            Some(owner) => owner.clone(),
            None => {
                let owner = self.claim(exchange, symbol).await?;
                if self.claims.len() >= self.claims_max {
                    self.claims.clear();
                }
                self.claims
                    .insert(symbol.as_str().to_owned(), owner.clone());
                owner
            }
        };
        Ok((owner != exchange).then(|| {
            format!("{symbol} is of the exchange {owner}, which has come from kafka before")
        }))
    }

    /// The exchange of Kafka that has a symbol: this one, if none had it.
    async fn claim(&self, exchange: &str, symbol: &Symbol) -> Result<String, BusError> {
        let subject = subject::bridge_claim(symbol);
        let streams = self.bus.streams();
        loop {
            if let Some(kept) = streams.last(&subject).await? {
                let claim = serde_json::from_slice::<Claim>(&kept.payload);
                return Ok(claim.map_or_else(|_| "unknown".to_owned(), |claim| claim.exchange));
            }
            let claim = Claim {
                exchange: exchange.to_owned(),
            };
            let payload = Bytes::from(serde_json::to_vec(&claim).unwrap_or_default());
            let append = Append {
                expected: Some(Expected::LastOfSubject(0)),
                ..Append::new(subject.as_str(), payload)
            };
            match streams.append(append).await {
                Ok(_) => return Ok(claim.exchange),
                Err(BusError::NotAsExpected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bus::Position;

    use super::*;

    fn lease(exchange: &str, payload: &'static str, stored_ms: u64) -> Message {
        let symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let position = Position {
            stream_created_ns: 1,
            sequence: 1,
            stored_ns: stored_ms * 1_000_000,
        };
        Message {
            position: Some(Box::new(position)),
            ..Message::new(subject::lease(exchange, &symbol), payload.into())
        }
    }

    #[test]
    fn lease_of_any_exchange_keeps_a_symbol_until_it_was_free_for_a_minute() {
        let mut leases = Leases::default();
        assert_eq!(leases.exchange_of("OKX:BTC-USDT", 0), None);
        leases.note(&lease("okx", r#"{"number":1,"holder":"a"}"#, 1_000));
        assert_eq!(leases.exchange_of("OKX:BTC-USDT", 900_000), Some("okx"));
        assert_eq!(leases.exchange_of("BTC-USDT", 900_000), None);
        leases.note(&lease("okx", r#"{"number":1,"holder":null}"#, 1_000));
        assert_eq!(leases.exchange_of("OKX:BTC-USDT", 60_999), Some("okx"));
        assert_eq!(leases.exchange_of("OKX:BTC-USDT", 61_000), None);
        leases.note(&lease("mine", "no lease", 1_000));
        assert_eq!(leases.exchange_of("OKX:BTC-USDT", 61_000), Some("mine"));
    }
}
