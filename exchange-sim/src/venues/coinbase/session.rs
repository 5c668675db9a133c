//! One client of Coinbase: its channels, and the answers to what it sends.

use serde_json::{Value, json};

use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;
use crate::venues::{Action, Channel, Handshake, Target};
use crate::window::Window;

/// A channel of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// `matches`
    Matches,
    /// `heartbeat`
    Heartbeat,
    /// `ticker`
    Ticker,
    /// `ticker_batch`: every 5 s
    TickerBatch,
    /// `level2`, here batched as `level2_batch` is
    Level2,
    /// `level2_batch`
    Level2Batch,
}

impl Feed {
    /// All channels.
    pub(crate) const ALL: [Feed; 6] = [
        Feed::Matches,
        Feed::Heartbeat,
        Feed::Ticker,
        Feed::TickerBatch,
        Feed::Level2,
        Feed::Level2Batch,
    ];

    /// The channel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Feed::Matches => "matches",
            Feed::Heartbeat => "heartbeat",
            Feed::Ticker => "ticker",
            Feed::TickerBatch => "ticker_batch",
            Feed::Level2 => "level2",
            Feed::Level2Batch => "level2_batch",
        }
    }
}

/// The error for a client of the other protocol.
const NOT_ADVANCED: &str = "this is Coinbase Exchange, not Advanced Trade: channels are a list, such as \"channels\":[\"matches\"]";
/// Most client messages per second and connection.
const MESSAGES_PER_SECOND: u64 = 100;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    subscriptions: Vec<(Feed, String)>,
    subscribe_by_ms: Option<i64>,
    messages: Window,
}

impl Session {
    /// The session of a new connection.
    pub(crate) fn open(handshake: &Handshake, config: &Config) -> Session {
        Session {
            subscriptions: Vec::new(),
            subscribe_by_ms: Some(handshake.now_ms + config.coinbase_subscribe_ms as i64),
            messages: Window::new(1_000, MESSAGES_PER_SECOND),
        }
    }

    /// Handles a text frame.
    pub(crate) fn on_text(&mut self, text: &str, now_ms: i64, listing: &Listing) -> Vec<Action> {
        if !self.messages.admit(1, now_ms) {
            return vec![Action::Close(1008, "rate limit exceeded".to_owned())];
        }
        match self.handle(text, listing) {
            Ok(actions) => actions,
            Err((message, reason)) => {
                let mut error = json!({"type": "error", "message": message});
                if !reason.is_empty() {
                    error["reason"] = Value::from(reason);
                }
                vec![Action::Reply(error.to_string())]
            }
        }
    }

    /// Ends a connection that has not subscribed in time.
    pub(crate) fn on_tick(&mut self, now_ms: i64) -> Vec<Action> {
        if self.subscribe_by_ms.is_some_and(|by_ms| now_ms >= by_ms) {
            return vec![Action::Close(1008, "no subscription".to_owned())];
        }
        Vec::new()
    }

    fn handle(
        &mut self,
        text: &str,
        listing: &Listing,
    ) -> Result<Vec<Action>, (&'static str, String)> {
        let request: Value =
            serde_json::from_str(text).map_err(|_| ("Malformed JSON", String::new()))?;
        let adds = match request.get("type").and_then(Value::as_str) {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            Some(_) => {
                return Err((
                    "Type has to be either subscribe or unsubscribe",
                    String::new(),
                ));
            }
            None => return Err(("Malformed message", "type is missing".to_owned())),
        };
        let what = if adds {
            "Failed to subscribe"
        } else {
            "Failed to unsubscribe"
        };
        if request.get("channel").is_some() && request.get("channels").is_none() {
            return Err((what, NOT_ADVANCED.to_owned()));
        }
        let wanted = wanted(&request, listing).map_err(|reason| (what, reason))?;
        let mut changes = Vec::new();
        for (feed, product) in wanted {
            let known = self
                .subscriptions
                .iter()
                .position(|(at, id)| *at == feed && *id == product);
            let target = listing
                .find(Venue::Coinbase, &product)
                .map(|symbol| Target {
                    symbol: Some(symbol),
                    channel: Channel::Coinbase(feed),
                });
            match (adds, known) {
                (true, None) => {
                    self.subscriptions.push((feed, product));
                    changes.extend(target.map(Action::Subscribe));
                }
                (false, Some(at)) => {
                    self.subscriptions.remove(at);
                    changes.extend(target.map(Action::Unsubscribe));
                }
                _ => {}
            }
        }
        if !self.subscriptions.is_empty() {
            self.subscribe_by_ms = None;
        }
        // The acknowledgement goes first: it precedes `last_match` and snapshots.
        let mut actions = vec![Action::Reply(self.acknowledgement())];
        actions.append(&mut changes);
        Ok(actions)
    }

    fn acknowledgement(&self) -> String {
        let mut channels = Vec::new();
        for feed in Feed::ALL {
            let products: Vec<&str> = self
                .subscriptions
                .iter()
                .filter(|(at, _)| *at == feed)
                .map(|(_, product)| product.as_str())
                .collect();
            if !products.is_empty() {
                channels.push(
                    json!({"name": feed.name(), "product_ids": products, "account_ids": null}),
                );
            }
        }
        json!({"type": "subscriptions", "channels": channels}).to_string()
    }
}

/// The channels and products of a request. Channels are names, or objects with their own products.
fn wanted(request: &Value, listing: &Listing) -> Result<Vec<(Feed, String)>, String> {
    let common = product_ids(request)?;
    let channels = request
        .get("channels")
        .and_then(Value::as_array)
        .filter(|channels| !channels.is_empty());
    let channels = channels.ok_or("channels is required")?;
    let mut wanted = Vec::new();
    for channel in channels {
        let (name, own) = match channel {
            Value::String(name) => (name.as_str(), Vec::new()),
            Value::Object(_) => (
                channel
                    .get("name")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                product_ids(channel)?,
            ),
            _ => return Err("channels must be names or objects".to_owned()),
        };
        let feed = Feed::ALL
            .into_iter()
            .find(|feed| feed.name() == name)
            .ok_or_else(|| format!("{name} is not a valid channel"))?;
        let products = if own.is_empty() { &common } else { &own };
        if products.is_empty() {
            return Err(format!("product_ids is required for the {name} channel"));
        }
        for product in products {
            if listing.find(Venue::Coinbase, product).is_none() {
                return Err(format!("{product} is not a valid product"));
            }
            wanted.push((feed, product.clone()));
        }
    }
    Ok(wanted)
}

fn product_ids(of: &Value) -> Result<Vec<String>, String> {
    match of.get("product_ids") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids
            .iter()
            .map(|id| {
                id.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| "product_ids must be strings".to_owned())
            })
            .collect(),
        Some(_) => Err("product_ids must be an array".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instrument::listing;
    use proptest::prelude::*;

    fn open() -> (Session, Listing) {
        let handshake = Handshake {
            connection: 1,
            path: "/".to_owned(),
            query: Vec::new(),
            now_ms: 0,
        };
        (
            Session::open(&handshake, &Config::default()),
            Listing::new(listing(0)),
        )
    }

    fn reply(actions: &[Action]) -> Value {
        match &actions[0] {
            Action::Reply(text) => serde_json::from_str(text).expect("a JSON reply"),
            other => panic!("no reply: {other:?}"),
        }
    }

    #[test]
    fn a_subscription_is_acknowledged_before_its_data() {
        let (mut session, listing) = open();
        let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches",{"name":"heartbeat","product_ids":["ETH-USD"]}]}"#;
        let actions = session.on_text(text, 0, &listing);
        let channels = &reply(&actions)["channels"];
        assert_eq!(channels[0]["name"], "matches");
        assert_eq!(channels[0]["product_ids"], json!(["BTC-USD"]));
        assert_eq!(channels[1]["product_ids"], json!(["ETH-USD"]));
        assert_eq!(actions.len(), 3);
        assert_eq!(
            session.on_text(text, 0, &listing).len(),
            1,
            "a repeated subscription only gets its answer"
        );
        let gone = session.on_text(&text.replace("subscribe", "unsubscribe"), 0, &listing);
        assert_eq!(reply(&gone)["channels"], json!([]));
    }

    #[test]
    fn an_unknown_product_or_channel_fails_and_changes_nothing() {
        let (mut session, listing) = open();
        for (text, reason) in [
            (
                r#"{"type":"subscribe","product_ids":["BTC-USD","NO-USD"],"channels":["matches"]}"#,
                "NO-USD is not a valid product",
            ),
            (
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["trades"]}"#,
                "trades is not a valid channel",
            ),
            (
                r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#,
                NOT_ADVANCED,
            ),
        ] {
            let actions = session.on_text(text, 0, &listing);
            assert_eq!(reply(&actions)["reason"], reason);
            assert_eq!(actions.len(), 1);
        }
        assert!(!session.on_tick(5_000).is_empty());
    }

    #[test]
    fn who_does_not_subscribe_in_time_is_closed() {
        let (mut session, listing) = open();
        assert!(session.on_tick(4_999).is_empty());
        session.on_text(
            r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}"#,
            4_999,
            &listing,
        );
        assert!(session.on_tick(60_000).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_gets_an_error(text in ".{0,200}") {
            let (mut session, listing) = open();
            let actions = session.on_text(&text, 0, &listing);
            prop_assert_eq!(&reply(&actions)["type"], "error");
        }
    }
}
