//! Who publishes a symbol. The topics of clients have no exchange in their names, so a symbol has one
//! source: a marketdata, which has a lease, or one exchange of Kafka, which claims it on the bus.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Append, Bus, BusError, Delivery, Expected, Message, Subscription};
use bytes::Bytes;
use market_core::{Symbol, subject};
use metrics::gauge;
use serde::{Deserialize, Serialize};

/// How long a lease counts after its release: the next marketdata takes it within that time.
const RELEASED_MS: i64 = 60_000;
/// How often all leases are read again: an announcement can overtake the stream.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Owners {
    bus: Arc<dyn Bus>,
    announced: Subscription,
    /// Claims of any bridge.
    claimed: Subscription,
    looked_at: Instant,
    leases: Leases,
    /// Exchanges of Kafka by subject of the claim: `None` where it must be read again.
    claims: HashMap<String, Option<String>>,
    claims_max: usize,
}

/// Why a record must not be published: a short name for a metric, and a text.
pub(crate) type Refusal = (&'static str, String);

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
        let claimed = bus.subscribe(&subject::bridge_claims()).await?;
        let mut owners = Owners {
            bus,
            announced,
            claimed,
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
        // Whoever purges a claim gives the symbol away.
        let claims = self.bus.last_values(&subject::bridge_claims()).await?;
        let claims = claims.into_iter().map(|claim| {
            let exchange = exchange_in(&claim);
            (claim.subject.to_string(), Some(exchange))
        });
        self.claims = claims.collect();
        self.tell_claims();
        self.looked_at = Instant::now();
        Ok(())
    }

    fn tell_claims(&self) {
        gauge!("bridge_symbols_claimed").set(self.claims.len() as f64);
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
        while let Some(delivery) = self.claimed.try_recv() {
            match delivery {
                // What the stream refuses is announced, too.
                Delivery::Message(claim) => {
                    self.claims.insert(claim.subject.to_string(), None);
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
    /// first exchange that asks has it from then on, as long as there are not too many on the bus.
    ///
    /// # Errors
    /// As [`bus::StreamStore::append`].
    pub(crate) async fn refusal(
        &mut self,
        exchange: &str,
        symbol: &Symbol,
        now_ms: i64,
    ) -> Result<Option<Refusal>, BusError> {
        if let Some(other) = self.leases.exchange_of(symbol.as_str(), now_ms) {
            let why = format!("marketdata publishes {symbol} of {other} itself");
            return Ok(Some(("owned", why)));
        }
        let subject = subject::bridge_claim(symbol);
        let owner = match self.claims.get(&subject) {
            Some(Some(owner)) => owner.clone(),
            known => {
                let is_counted = known.is_some();
                let may_claim = is_counted || self.claims.len() < self.claims_max;
                let Some(owner) = self.claim(exchange, &subject, may_claim).await? else {
                    let why = "there are more symbols of kafka on the bus than --bridge-series-max";
                    return Ok(Some(("too_many", why.to_owned())));
                };
                self.claims.insert(subject, Some(owner.clone()));
                self.tell_claims();
                owner
            }
        };
        Ok((owner != exchange).then(|| {
            let why =
                format!("{symbol} is of the exchange {owner}, which has come from kafka before");
            ("owned", why)
        }))
    }

    /// The exchange of Kafka that has a symbol: this one, if none had it and it may be claimed.
    async fn claim(
        &self,
        exchange: &str,
        subject: &str,
        may_claim: bool,
    ) -> Result<Option<String>, BusError> {
        let streams = self.bus.streams();
        loop {
            if let Some(kept) = streams.last(subject).await? {
                return Ok(Some(exchange_in(&kept)));
            }
            if !may_claim {
                return Ok(None);
            }
            let claim = Claim {
                exchange: exchange.to_owned(),
            };
            let payload = Bytes::from(serde_json::to_vec(&claim).unwrap_or_default());
            let append = Append {
                expected: Some(Expected::LastOfSubject(0)),
                ..Append::new(subject, payload)
            };
            match streams.append(append).await {
                Ok(_) => return Ok(Some(claim.exchange)),
                Err(BusError::NotAsExpected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn exchange_in(claim: &Message) -> String {
    let claim = serde_json::from_slice::<Claim>(&claim.payload);
    claim.map_or_else(|_| "unknown".to_owned(), |claim| claim.exchange)
}

#[cfg(test)]
mod tests {
    use bus::{MemoryBus, Position};

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

    fn symbol(number: usize) -> Symbol {
        format!("A{number}-B").parse().expect("a symbol")
    }

    /// After the next look.
    async fn later(owners: &mut Owners) {
        owners.looked_at = Instant::now()
            .checked_sub(LOOK_INTERVAL + Duration::from_secs(1))
            .expect("a clock that runs for a minute");
        owners.update().await.expect("a look");
    }

    async fn reason(owners: &mut Owners, exchange: &str, of: usize) -> Option<&'static str> {
        let refusal = owners.refusal(exchange, &symbol(of), 0).await;
        refusal.expect("an answer").map(|(reason, _)| reason)
    }

    #[tokio::test]
    async fn purged_claim_gives_its_symbol_to_the_next_exchange_in_all_bridges() {
        let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
        let follow = async || Owners::follow(Arc::<MemoryBus>::clone(&bus), 10).await;
        let (mut first, mut second) = (
            follow().await.expect("leases"),
            follow().await.expect("leases"),
        );
        assert_eq!(reason(&mut first, "mine", 1).await, None);
        assert_eq!(reason(&mut second, "other", 1).await, Some("owned"));
        // All claims are purged.
        let streams = bus.streams();
        streams.delete_stream("state").await.expect("it is gone");
        for stream in service::streams() {
            streams.put_stream(stream).await.expect("it is there");
        }
        later(&mut second).await;
        assert_eq!(reason(&mut second, "other", 1).await, None);
        // The claim is announced, so there are not two sources until the next look.
        first.update().await.expect("what was announced");
        assert_eq!(reason(&mut first, "mine", 1).await, Some("owned"));
    }

    #[tokio::test]
    async fn claims_of_all_bridges_count_against_the_bound() {
        let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
        let follow = async || Owners::follow(Arc::<MemoryBus>::clone(&bus), 3).await;
        let mut first = follow().await.expect("leases");
        for of in 0..2 {
            assert_eq!(reason(&mut first, "mine", of).await, None);
        }
        let mut second = follow().await.expect("leases");
        assert_eq!(reason(&mut second, "mine", 2).await, None);
        first.update().await.expect("what was announced");
        assert_eq!(reason(&mut first, "mine", 3).await, Some("too_many"));
        assert_eq!(reason(&mut second, "mine", 3).await, Some("too_many"));
        // Those that are there go on, also after a new start.
        let mut third = follow().await.expect("leases");
        for of in 0..3 {
            assert_eq!(reason(&mut third, "mine", of).await, None);
        }
        assert_eq!(reason(&mut third, "mine", 3).await, Some("too_many"));
        let claims = bus.last_values(&subject::bridge_claims()).await;
        assert_eq!(claims.expect("claims").len(), 3);
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
