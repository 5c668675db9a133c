//! The specification of a scripted fault, in words and in JSON.

use serde::{Deserialize, Serialize};

use crate::instrument::Venue;

/// The syntax of `--fault`; `--help` shows it.
pub(crate) const GRAMMAR: &str = "\
A fault is KIND[,KEY=VALUE]...; the same names are the JSON of POST /sim/faults (times as at_ms, \
for_ms, every_ms, delay_ms).

Kinds on trades (they stay on the tape, so REST has them):
  gap              never sent on WebSocket            count (1), or for
  duplicate        sent twice                         count (1), or for
  late             sent delay later                   count (1), delay (3s)
  reorder          each sent up to delay later        delay (500ms), for
  silence          a symbol stops, all else lives     for; lie=true: Coinbase heartbeats say last_trade_id 0
  delist           the venue does not know a symbol   for: its streams stop, REST and subscribing refuse it;
                                                        listed when it ends
  malformed        a truncated frame in its place     count (1), or for
Kinds on changes of books (REST and snapshots have them):
  book_gap         never sent                         count (1), or for
  book_duplicate   sent twice                         count (1), or for
  book_late        sent delay later                   count (1), delay (500ms)
  book_malformed   a truncated frame in its place     count (1), or for
Kinds on connections:
  disconnect       drop them                          code (none: TCP only), connection
  cut              disconnect, then refuse            for (5s)
  refuse           no WebSocket, no REST, no answer   for
  slow             all frames delay later, in order   delay (100ms), for
  server_shutdown  Binance's event, then a close      delay until the close (10s)
  notice           OKX's 64008, then a close          delay until the close (10s)
Kinds on REST:
  rest_429, rest_418 (retry_after=seconds), rest_403, rest_451, rest_500  count (1), or for
  rest_slow        answers delay later                delay (2s), for
Keys: venue, symbol (any spelling), count, at (first time, from now), for, every (repeat), delay, \
path (part of a REST path), connection, code, retry_after, lie. Durations: 250ms, 10s, 2m.
Example: --fault gap,venue=binance,symbol=BTCUSDT,count=5,at=10s --fault cut,venue=okx,for=60s,at=1m";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Trades are never sent on WebSocket.
    Gap,
    /// Trades are sent twice.
    Duplicate,
    /// Trades are sent a fixed time later.
    Late,
    /// Each trade is sent a random time later.
    Reorder,
    /// A symbol stops while its connections and heartbeats live.
    Silence,
    /// A truncated frame is sent in place of the trade.
    Malformed,
    /// The venue does not know a symbol any more.
    Delist,
    /// Changes of books are never sent.
    BookGap,
    /// Changes of books are sent twice.
    BookDuplicate,
    /// Changes of books are sent a fixed time later.
    BookLate,
    /// A truncated frame is sent in place of a change of a book.
    BookMalformed,
    /// Connections are dropped.
    Disconnect,
    /// Connections are dropped, and new ones refused for a time.
    Cut,
    /// New connections and requests end without an answer.
    Refuse,
    /// Each frame is sent later; rate and order stay the same.
    Slow,
    /// Binance's `serverShutdown` event, then a close.
    ServerShutdown,
    /// OKX's notice 64008, then a close.
    Notice,
    /// REST answers 429.
    #[serde(rename = "rest_429")]
    Rest429,
    /// REST answers 418.
    #[serde(rename = "rest_418")]
    Rest418,
    /// REST answers 403, as a firewall in front of the venue does.
    #[serde(rename = "rest_403")]
    Rest403,
    /// REST answers 451: not served in this country.
    #[serde(rename = "rest_451")]
    Rest451,
    /// REST answers 500.
    #[serde(rename = "rest_500")]
    Rest500,
    /// REST answers late.
    RestSlow,
}

impl FaultKind {
    pub(crate) fn is_one_shot(self) -> bool {
        matches!(
            self,
            FaultKind::Disconnect | FaultKind::ServerShutdown | FaultKind::Notice
        )
    }

    /// How often it strikes if neither a count nor a duration is given.
    pub(crate) fn count_default(self) -> Option<u64> {
        match self {
            FaultKind::Gap
            | FaultKind::Duplicate
            | FaultKind::Late
            | FaultKind::Malformed
            | FaultKind::BookGap
            | FaultKind::BookDuplicate
            | FaultKind::BookLate
            | FaultKind::BookMalformed
            | FaultKind::Rest429
            | FaultKind::Rest418
            | FaultKind::Rest403
            | FaultKind::Rest451
            | FaultKind::Rest500 => Some(1),
            _ => None,
        }
    }

    pub(crate) fn delay_default_ms(self) -> u64 {
        match self {
            FaultKind::Late => 3_000,
            FaultKind::BookLate => 500,
            FaultKind::Reorder => 500,
            FaultKind::Slow => 100,
            FaultKind::RestSlow => 2_000,
            FaultKind::ServerShutdown | FaultKind::Notice => 10_000,
            _ => 0,
        }
    }
}

/// A fault as requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only at this venue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue: Option<Venue>,
    /// Only for this symbol, in any spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// How many trades or requests it strikes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Milliseconds from now to its first beginning.
    #[serde(default)]
    pub at_ms: u64,
    /// Milliseconds that it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Milliseconds from one beginning to the next; absent: once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// Milliseconds of delay, for the kinds that delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Only this connection, by the id that `/sim/stats` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// WebSocket close code of a disconnect; absent: the TCP connection just ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Seconds in the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Only REST paths that contain this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether a silence also falsifies the heartbeat's last trade id.
    #[serde(default)]
    pub lie: bool,
}

impl FaultSpec {
    /// A fault of this kind, everywhere, now.
    pub fn new(kind: FaultKind) -> FaultSpec {
        FaultSpec {
            kind,
            venue: None,
            symbol: None,
            count: None,
            at_ms: 0,
            for_ms: None,
            every_ms: None,
            delay_ms: None,
            connection: None,
            code: None,
            retry_after: None,
            path: None,
            lie: false,
        }
    }
}

impl std::str::FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<FaultSpec, String> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default().trim();
        let kind = serde_json::from_value(serde_json::Value::from(kind))
            .map_err(|_| format!("unknown kind of fault {kind:?}"))?;
        let mut spec = FaultSpec::new(kind);
        for part in parts {
            let (key, value) = part
                .trim()
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not KEY=VALUE"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{key} is not a number: {value:?}"))
            };
            match key {
                "venue" => {
                    spec.venue = Some(
                        Venue::parse(value).ok_or_else(|| format!("unknown venue {value:?}"))?,
                    )
                }
                "symbol" => spec.symbol = Some(value.to_owned()),
                "count" => spec.count = Some(number()?),
                "at" => spec.at_ms = duration_ms(value)?,
                "for" => spec.for_ms = Some(duration_ms(value)?),
                "every" => spec.every_ms = Some(duration_ms(value)?),
                "delay" => spec.delay_ms = Some(duration_ms(value)?),
                "connection" => spec.connection = Some(number()?),
                "code" => {
                    spec.code = Some(
                        value
                            .parse()
                            .map_err(|_| format!("code is not a number: {value:?}"))?,
                    )
                }
                "retry_after" => spec.retry_after = Some(number()?),
                "path" => spec.path = Some(value.to_owned()),
                "lie" => {
                    spec.lie = value
                        .parse()
                        .map_err(|_| format!("lie is not true or false: {value:?}"))?
                }
                _ => return Err(format!("unknown key {key:?}")),
            }
        }
        Ok(spec)
    }
}

/// Reads `250ms`, `10s`, `2m`, `1h`.
fn duration_ms(text: &str) -> Result<u64, String> {
    let digits = text.len()
        - text
            .trim_start_matches(|letter: char| letter.is_ascii_digit())
            .len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "{text:?} is not a duration such as 250ms, 10s or 2m"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} is not a duration such as 250ms, 10s or 2m"))
}

#[cfg(test)]
mod tests;
