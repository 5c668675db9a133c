//! One client of OKX: its channels, and the answers to what it sends.

use serde_json::{Value, json};

use crate::config::Config;
use crate::instrument::Venue;
use crate::interval::{DAY_MS, Interval};
use crate::listing::Listing;
use crate::venues::{Action, Channel, Handshake, Target};
use crate::window::Window;

/// Bars: name, interval, and whether days begin at midnight UTC+8 (the `utc` names do not).
const BARS: [(&str, Interval, bool); 23] = [
    ("1s", Interval::Fixed(1_000), false),
    ("1m", Interval::MINUTE, false),
    ("3m", Interval::Fixed(180_000), false),
    ("5m", Interval::Fixed(300_000), false),
    ("15m", Interval::Fixed(900_000), false),
    ("30m", Interval::Fixed(1_800_000), false),
    ("1H", Interval::Fixed(3_600_000), false),
    ("2H", Interval::Fixed(7_200_000), false),
    ("4H", Interval::Fixed(14_400_000), false),
    ("6H", Interval::Fixed(21_600_000), true),
    ("12H", Interval::Fixed(43_200_000), true),
    ("1D", Interval::Fixed(DAY_MS), true),
    ("2D", Interval::Fixed(2 * DAY_MS), true),
    ("3D", Interval::Fixed(3 * DAY_MS), true),
    ("1W", Interval::Week, true),
    ("1M", Interval::Months(1), true),
    ("3M", Interval::Months(3), true),
    ("6Hutc", Interval::Fixed(21_600_000), false),
    ("12Hutc", Interval::Fixed(43_200_000), false),
    ("1Dutc", Interval::Fixed(DAY_MS), false),
    ("3Dutc", Interval::Fixed(3 * DAY_MS), false),
    ("1Wutc", Interval::Week, false),
    ("1Mutc", Interval::Months(1), false),
];

/// Place of a bar's name in the table.
pub(crate) fn find_bar(name: &str) -> Option<u8> {
    BARS.iter()
        .position(|(known, _, _)| *known == name)
        .map(|at| at as u8)
}

/// Interval and offset in milliseconds of a bar.
pub(crate) fn bar_interval(bar: u8) -> (Interval, i64) {
    let (_, interval, east) = BARS[usize::from(bar)];
    (interval, if east { 8 * 3_600_000 } else { 0 })
}

/// A channel of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// `trades`: aggregates
    Trades,
    /// `trades-all`: single trades, on the business URL
    TradesAll,
    /// `tickers`
    Tickers,
    /// `books`: snapshot and changes
    Books,
    /// `books5`
    Books5,
    /// `bbo-tbt`
    Best,
    /// `candle<bar>`, on the business URL
    Candle(u8),
}

impl Feed {
    /// The channel's name.
    pub(crate) fn name(self) -> String {
        match self {
            Feed::Trades => "trades".to_owned(),
            Feed::TradesAll => "trades-all".to_owned(),
            Feed::Tickers => "tickers".to_owned(),
            Feed::Books => "books".to_owned(),
            Feed::Books5 => "books5".to_owned(),
            Feed::Best => "bbo-tbt".to_owned(),
            Feed::Candle(bar) => format!("candle{}", BARS[usize::from(bar)].0),
        }
    }

    /// The channel of a name.
    pub(crate) fn parse(name: &str) -> Option<Feed> {
        Some(match name {
            "trades" => Feed::Trades,
            "trades-all" => Feed::TradesAll,
            "tickers" => Feed::Tickers,
            "books" => Feed::Books,
            "books5" => Feed::Books5,
            "bbo-tbt" => Feed::Best,
            _ => Feed::Candle(find_bar(name.strip_prefix("candle")?)?),
        })
    }

    fn is_business(self) -> bool {
        matches!(self, Feed::TradesAll | Feed::Candle(_))
    }
}

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
mod tests {
    use super::*;
    use crate::instrument::listing;
    use proptest::prelude::*;

    fn open(path: &str) -> (Session, Listing) {
        let handshake = Handshake {
            connection: 1,
            path: path.to_owned(),
            query: Vec::new(),
            now_ms: 0,
        };
        (
            Session::open(&handshake, &Config::default()),
            Listing::new(listing(0)),
        )
    }

    fn reply(action: &Action) -> Value {
        match action {
            Action::Reply(text) => serde_json::from_str(text).expect("a JSON reply"),
            other => panic!("no reply: {other:?}"),
        }
    }

    #[test]
    fn a_subscription_is_acknowledged_with_its_argument() {
        let (mut session, listing) = open("/ws/v5/public");
        let text =
            r#"{"op":"subscribe","id":"1512","args":[{"channel":"trades","instId":"BTC-USDT"}]}"#;
        let actions = session.on_text(text, 0, &listing);
        let ack = reply(&actions[0]);
        assert_eq!(ack["event"], "subscribe");
        assert_eq!(ack["arg"], json!({"channel":"trades","instId":"BTC-USDT"}));
        assert_eq!(
            (ack["id"].as_str(), ack["connId"].as_str().map(str::len)),
            (Some("1512"), Some(8))
        );
        assert!(matches!(actions[1], Action::Subscribe(_)));
        assert_eq!(
            session.on_text(text, 0, &listing).len(),
            1,
            "a repeated subscription only gets its answer"
        );
        let gone = session.on_text(&text.replace("subscribe", "unsubscribe"), 0, &listing);
        assert!(matches!(gone[1], Action::Unsubscribe(_)));
    }

    #[test]
    fn channels_live_on_their_own_url() {
        let (mut public, listing) = open("/ws/v5/public");
        let (mut business, _) = open("/ws/v5/business");
        for (channel, is_business) in [
            ("trades", false),
            ("candle1m", true),
            ("trades-all", true),
            ("bbo-tbt", false),
        ] {
            let text = json!({"op":"subscribe","args":[{"channel":channel,"instId":"BTC-USDT"}]})
                .to_string();
            let (right, wrong) = if is_business {
                (&mut business, &mut public)
            } else {
                (&mut public, &mut business)
            };
            assert_eq!(
                reply(&right.on_text(&text, 0, &listing)[0])["event"],
                "subscribe"
            );
            assert_eq!(
                reply(&wrong.on_text(&text, 0, &listing)[0])["code"],
                "60018"
            );
        }
    }

    #[test]
    fn an_unknown_instrument_is_an_error_beside_a_known_one() {
        let (mut session, listing) = open("/ws/v5/public");
        let text = r#"{"op":"subscribe","args":[{"channel":"trades","instId":"NO-USDT"},{"channel":"trades","instId":"BTC-USDT"}]}"#;
        let actions = session.on_text(text, 0, &listing);
        assert_eq!(reply(&actions[0])["code"], "60018");
        assert_eq!(reply(&actions[1])["event"], "subscribe");
    }

    #[test]
    fn silence_in_both_directions_ends_the_connection() {
        let (mut session, listing) = open("/ws/v5/public");
        assert_eq!(
            session.on_text("ping", 20_000, &listing),
            [Action::Reply("pong".to_owned())]
        );
        assert_eq!(session.on_tick(49_999, 0), []);
        assert_eq!(session.on_tick(79_999, 50_000), []);
        assert!(matches!(
            session.on_tick(80_000, 50_000)[..],
            [Action::Close(4004, _)]
        ));
    }

    #[test]
    fn the_481st_operation_of_an_hour_is_refused() {
        let (mut session, listing) = open("/ws/v5/public");
        for _ in 0..480 {
            assert_eq!(
                reply(&session.on_text("{}", 0, &listing)[0])["code"],
                "60012"
            );
        }
        assert_eq!(
            reply(&session.on_text("{}", 0, &listing)[0])["code"],
            "60014"
        );
    }

    proptest! {
        #[test]
        fn any_text_gets_an_error(text in ".{0,200}") {
            let (mut session, listing) = open("/ws/v5/public");
            prop_assume!(text != "ping");
            let actions = session.on_text(&text, 0, &listing);
            prop_assert_eq!(&reply(&actions[0])["event"], "error");
        }
    }
}
