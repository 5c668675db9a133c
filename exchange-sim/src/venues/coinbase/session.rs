//! One client of Coinbase: its channels, and the answers to what it sends.

use serde_json::{Value, json};

use super::feed::Feed;
use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;
use crate::venues::action::{Action, Handshake};
use crate::venues::target::{Channel, Target};
use crate::window::Window;

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
mod tests;
