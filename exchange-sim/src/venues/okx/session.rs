//! One client of OKX: its channels, and the answers to what it sends.

use serde_json::{Value, json};

use super::feed::Feed;
use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;
use crate::venues::action::{Action, Handshake};
use crate::venues::target::{Channel, Target};
use crate::window::Window;

/// Most operations per hour and connection; a request with several arguments is one.
const OPERATIONS_PER_HOUR: u64 = 480;
/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    connection_id: String,
    business: bool,
    subscriptions: Vec<(Feed, String)>,
    operations: Window,
    idle_ms: i64,
    received_ms: i64,
}

impl Session {
    /// The session of a new connection to `/ws/v5/public` or `/ws/v5/business`.
    pub(crate) fn open(handshake: &Handshake, config: &Config) -> Session {
        Session {
            connection_id: connection_id(handshake.connection),
            business: handshake.path.trim_end_matches('/').ends_with("business"),
            subscriptions: Vec::new(),
            operations: Window::new(3_600_000, OPERATIONS_PER_HOUR),
            idle_ms: config.okx_idle_ms as i64,
            received_ms: handshake.now_ms,
        }
    }

    /// Handles a text frame: `ping`, or an operation.
    pub(crate) fn on_text(&mut self, text: &str, now_ms: i64, listing: &Listing) -> Vec<Action> {
        self.received_ms = now_ms;
        if text == "ping" {
            return vec![Action::Reply("pong".to_owned())];
        }
        if !self.operations.admit(1, now_ms) {
            return vec![self.error("60014", "Requests too frequent.", None)];
        }
        let request: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
        let Some(request) = request.filter(|_| text.len() <= REQUEST_BYTES_MAX) else {
            return vec![self.invalid(text, None)];
        };
        let id = request.get("id").cloned();
        let adds = match request.get("op").and_then(Value::as_str) {
            Some("subscribe") => true,
            Some("unsubscribe") => false,
            Some("login") => return vec![self.error("60009", "Login failed.", id.as_ref())],
            _ => return vec![self.invalid(text, id.as_ref())],
        };
        let args = request
            .get("args")
            .and_then(Value::as_array)
            .filter(|args| !args.is_empty());
        let Some(args) = args else {
            return vec![self.invalid(text, id.as_ref())];
        };
        let mut actions = Vec::new();
        for arg in args {
            match arg.get("channel").and_then(Value::as_str) {
                Some(channel) => {
                    self.change(adds, channel, arg, id.as_ref(), listing, &mut actions)
                }
                None => actions.push(self.invalid(text, id.as_ref())),
            }
        }
        actions
    }

    /// Handles a WebSocket ping, pong or binary frame.
    pub(crate) fn on_control(&mut self, now_ms: i64) -> Vec<Action> {
        self.received_ms = now_ms;
        Vec::new()
    }

    /// Ends a connection that has been silent in both directions.
    pub(crate) fn on_tick(&mut self, now_ms: i64, written_ms: i64) -> Vec<Action> {
        if now_ms - self.received_ms.max(written_ms) >= self.idle_ms {
            return vec![Action::Close(4004, "No data received in 30s".to_owned())];
        }
        Vec::new()
    }

    fn change(
        &mut self,
        adds: bool,
        channel: &str,
        arg: &Value,
        id: Option<&Value>,
        listing: &Listing,
        actions: &mut Vec<Action>,
    ) {
        let symbol = arg
            .get("instId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let feed = Feed::parse(channel).filter(|feed| feed.is_business() == self.business);
        let (Some(feed), Some(index)) = (feed, listing.find(Venue::Okx, symbol)) else {
            let message = format!(
                "Wrong URL or channel:{channel},instId:{symbol} doesn't exist. Please use the correct URL, channel and \
                 parameters referring to API document."
            );
            actions.push(self.error("60018", &message, id));
            return;
        };
        let mut ack = json!({
            "event": if adds { "subscribe" } else { "unsubscribe" },
            "arg": arg,
            "connId": self.connection_id,
        });
        if let Some(id) = id {
            ack["id"] = id.clone();
        }
        actions.push(Action::Reply(ack.to_string()));
        let target = Target {
            symbol: Some(index),
            channel: Channel::Okx(feed),
        };
        let known = self
            .subscriptions
            .iter()
            .position(|(at, of)| *at == feed && of == symbol);
        match (adds, known) {
            (true, None) => {
                self.subscriptions.push((feed, symbol.to_owned()));
                actions.push(Action::Subscribe(target));
            }
            (false, Some(at)) => {
                self.subscriptions.remove(at);
                actions.push(Action::Unsubscribe(target));
            }
            _ => {}
        }
    }

    fn invalid(&self, text: &str, id: Option<&Value>) -> Action {
        let shown: String = text.chars().take(200).collect();
        self.error("60012", &format!("Invalid request: {shown}"), id)
    }

    fn error(&self, code: &str, message: &str, id: Option<&Value>) -> Action {
        let mut error =
            json!({"event": "error", "code": code, "msg": message, "connId": self.connection_id});
        if let Some(id) = id {
            error["id"] = id.clone();
        }
        Action::Reply(error.to_string())
    }
}

/// The id of a connection as OKX writes it.
pub(crate) fn connection_id(connection: u64) -> String {
    format!("{:08x}", crate::market::mix(connection) as u32)
}

/// The notice before an upgrade of the service.
pub(crate) fn notice(connection: u64) -> String {
    json!({
        "event": "notice",
        "code": "64008",
        "msg": "The connection will soon be closed for a service upgrade. Please reconnect.",
        "connId": connection_id(connection),
    })
    .to_string()
}

#[cfg(test)]
mod tests;
