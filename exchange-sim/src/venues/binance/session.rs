//! One client of Binance: its subscriptions, and the answers to what it sends.

use serde_json::Value;

use super::frame::{COMBINED, MICROSECONDS};
use super::stream::parse_name;
use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;
use crate::venues::action::{Action, Handshake};
use crate::venues::target::{Channel, Target};
use crate::window::Window;

/// Most streams of one connection.
const STREAMS_MAX: usize = 1024;
/// Most characters of a request id that is a string.
const ID_LEN_MAX: usize = 36;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    streams: Vec<String>,
    variant: u8,
    messages: Window,
    ping_every_ms: i64,
    pong_within_ms: i64,
    cut_at_ms: i64,
    next_ping_ms: i64,
    /// When the oldest unanswered ping was sent.
    pinged_ms: Option<i64>,
}

impl Session {
    /// The session of a new connection to `/ws...` or `/stream...`. Streams may be in the path
    /// (`/ws/a/b`) or in the query (`/stream?streams=a/b`). Invalid names there are ignored,
    /// because clients number their connections: `/ws/0`.
    pub(crate) fn open(
        handshake: &Handshake,
        config: &Config,
        listing: &Listing,
    ) -> (Session, Vec<Action>) {
        let combined = handshake.path.starts_with("/stream");
        let of = |key: &str| {
            handshake
                .query
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.as_str())
        };
        let micros = of("timeUnit").is_some_and(|unit| unit.eq_ignore_ascii_case("microsecond"));
        let named = if combined {
            of("streams").unwrap_or_default()
        } else {
            handshake.path.trim_start_matches("/ws")
        };
        let mut session = Session {
            streams: Vec::new(),
            variant: if combined { COMBINED } else { 0 } | if micros { MICROSECONDS } else { 0 },
            messages: Window::new(1_000, config.binance_messages_per_second as u64),
            ping_every_ms: config.binance_ping_ms as i64,
            pong_within_ms: config.binance_pong_ms as i64,
            cut_at_ms: handshake
                .now_ms
                .saturating_add(config.binance_connection_ms as i64),
            next_ping_ms: handshake.now_ms + config.binance_ping_ms as i64,
            pinged_ms: None,
        };
        let mut actions = vec![Action::Variant(session.variant)];
        for name in named
            .split('/')
            .filter(|name| parse_name(name).is_some())
            .take(STREAMS_MAX)
        {
            actions.extend(session.add(name, listing));
        }
        (session, actions)
    }

    /// Handles a text frame: a request, or text that Binance answers with an error.
    pub(crate) fn on_text(&mut self, text: &str, now_ms: i64, listing: &Listing) -> Vec<Action> {
        if let Some(close) = self.count_message(now_ms) {
            return vec![close];
        }
        match self.handle(text, listing) {
            Ok(actions) => actions,
            Err(error) => vec![Action::Reply(error)],
        }
    }

    /// Handles a ping, a pong or a binary frame; all count as messages.
    pub(crate) fn on_control(&mut self, pong: bool, now_ms: i64) -> Vec<Action> {
        if pong {
            self.pinged_ms = None;
        }
        self.count_message(now_ms).into_iter().collect()
    }

    /// Sends pings, and ends connections that do not answer them or are a day old.
    pub(crate) fn on_tick(&mut self, now_ms: i64) -> Vec<Action> {
        if now_ms >= self.cut_at_ms {
            return vec![Action::Close(
                1001,
                "connection lifetime reached".to_owned(),
            )];
        }
        if self
            .pinged_ms
            .is_some_and(|pinged_ms| now_ms - pinged_ms >= self.pong_within_ms)
        {
            return vec![Action::Close(1008, "Pong timeout".to_owned())];
        }
        if now_ms < self.next_ping_ms {
            return Vec::new();
        }
        self.next_ping_ms = now_ms + self.ping_every_ms;
        self.pinged_ms.get_or_insert(now_ms);
        vec![Action::Ping]
    }

    fn count_message(&mut self, now_ms: i64) -> Option<Action> {
        let admitted = self.messages.admit(1, now_ms);
        (!admitted).then(|| Action::Close(1008, "Too many requests".to_owned()))
    }

    fn handle(&mut self, text: &str, listing: &Listing) -> Result<Vec<Action>, String> {
        let request: Value = serde_json::from_str(text)
            .map_err(|error| failure(3, &format!("Invalid JSON: {error}"), &Value::Null))?;
        let Value::Object(request) = request else {
            return Err(failure(
                2,
                "Invalid request: expected a JSON object",
                &Value::Null,
            ));
        };
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        if !is_request_id(&id) {
            let message = "Invalid request: request ID must be an unsigned integer, a string of up to 36 characters or null";
            return Err(failure(2, message, &Value::Null));
        }
        let Some(method) = request.get("method") else {
            let message = format!(
                "Invalid request: missing field `method` at line 1 column {}",
                text.len()
            );
            return Err(failure(2, &message, &id));
        };
        let no_params = Vec::new();
        let params = match request.get("params") {
            Some(Value::Array(params)) => params,
            None | Some(Value::Null) => &no_params,
            Some(_) => return Err(failure(2, "Invalid request: params must be an array", &id)),
        };
        let method = method.as_str().unwrap_or_default();
        if matches!(method, "SUBSCRIBE" | "UNSUBSCRIBE") && request.get("params").is_none() {
            let message = format!(
                "Invalid request: missing field `params` at line 1 column {}",
                text.len()
            );
            return Err(failure(2, &message, &id));
        }
        match method {
            "SUBSCRIBE" => self.subscribe(params, &id, listing),
            "UNSUBSCRIBE" => self.unsubscribe(params, &id, listing),
            "LIST_SUBSCRIPTIONS" => Ok(vec![result(&Value::from(self.streams.clone()), &id)]),
            "SET_PROPERTY" => self.set_property(params, &id),
            "GET_PROPERTY" => match property(params, 1, &id)? {
                "combined" => Ok(vec![result(
                    &Value::from(self.variant & COMBINED != 0),
                    &id,
                )]),
                _ => Err(failure(0, "Unknown property", &id)),
            },
            other => {
                let message = format!(
                    "Invalid request: unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, \
                     `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column {}",
                    text.len()
                );
                Err(failure(2, &message, &id))
            }
        }
    }

    fn subscribe(
        &mut self,
        params: &[Value],
        id: &Value,
        listing: &Listing,
    ) -> Result<Vec<Action>, String> {
        let names = stream_names(params, id)?;
        let added = names
            .iter()
            .filter(|name| !self.streams.iter().any(|known| known == *name))
            .count();
        if self.streams.len() + added > STREAMS_MAX {
            return Err(failure(2, "Invalid request: too many parameters", id));
        }
        let mut actions = vec![result(&Value::Null, id)];
        for name in names {
            actions.extend(self.add(name, listing));
        }
        Ok(actions)
    }

    fn unsubscribe(
        &mut self,
        params: &[Value],
        id: &Value,
        listing: &Listing,
    ) -> Result<Vec<Action>, String> {
        let mut actions = Vec::new();
        for name in stream_names(params, id)? {
            if let Some(at) = self.streams.iter().position(|known| known == name) {
                self.streams.remove(at);
                actions.extend(target(name, listing).map(Action::Unsubscribe));
            }
        }
        actions.push(result(&Value::Null, id));
        Ok(actions)
    }

    fn set_property(&mut self, params: &[Value], id: &Value) -> Result<Vec<Action>, String> {
        if property(params, 2, id)? != "combined" {
            return Err(failure(0, "Unknown property", id));
        }
        let Some(combined) = params.get(1).and_then(Value::as_bool) else {
            return Err(failure(1, "Invalid value type: expected Boolean", id));
        };
        self.variant = self.variant & !COMBINED | if combined { COMBINED } else { 0 };
        Ok(vec![
            Action::Variant(self.variant),
            result(&Value::Null, id),
        ])
    }

    /// Adds a stream if it is new; an unknown symbol is accepted and stays silent.
    fn add(&mut self, name: &str, listing: &Listing) -> Option<Action> {
        if self.streams.iter().any(|known| known == name) {
            return None;
        }
        self.streams.push(name.to_owned());
        let target = target(name, listing);
        if target.is_none() {
            // The venue is silent, too.
            tracing::info!(
                stream = name,
                "a client subscribed to a stream that is not simulated, and gets nothing"
            );
        }
        target.map(Action::Subscribe)
    }
}

fn target(name: &str, listing: &Listing) -> Option<Target> {
    let (symbol, stream) = parse_name(name)?;
    let channel = Channel::Binance(stream);
    if symbol.is_empty() {
        return Some(Target {
            symbol: None,
            channel,
        });
    }
    Some(Target {
        // A delisted symbol is acknowledged like an unknown one, and sends trades when it is listed
        // again.
        symbol: Some(listing.find_even_delisted(Venue::Binance, &symbol)?),
        channel,
    })
}

fn stream_names<'a>(params: &'a [Value], id: &Value) -> Result<Vec<&'a str>, String> {
    if params.len() > STREAMS_MAX {
        return Err(failure(2, "Invalid request: too many parameters", id));
    }
    let names: Option<Vec<&str>> = params.iter().map(Value::as_str).collect();
    names.ok_or_else(|| failure(2, "Invalid request: stream names must be strings", id))
}

fn property<'a>(params: &'a [Value], count_max: usize, id: &Value) -> Result<&'a str, String> {
    if params.len() > count_max {
        return Err(failure(2, "Invalid request: too many parameters", id));
    }
    params
        .first()
        .and_then(Value::as_str)
        .ok_or_else(|| failure(2, "Invalid request: property name must be a string", id))
}

/// The documents contradict each other on signed and unsigned: any 64-bit integer is accepted.
fn is_request_id(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => {
            text.len() <= ID_LEN_MAX
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        }
        _ => false,
    }
}

fn result(value: &Value, id: &Value) -> Action {
    Action::Reply(format!(r#"{{"result":{value},"id":{id}}}"#))
}

fn failure(code: i32, message: &str, id: &Value) -> String {
    format!(
        r#"{{"code":{code},"msg":{},"id":{id}}}"#,
        Value::from(message)
    )
}

#[cfg(test)]
mod tests;
