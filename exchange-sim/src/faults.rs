//! Scripted faults: what goes wrong, where, from when, for how long and how often.
//!
//! Pure apart from its mutex: time is an argument, and what to do comes back as a value.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::instrument::{Venue, symbol_key};
use crate::market::Rng;

/// How `--fault` is written; shown by `--help`.
pub(crate) const GRAMMAR: &str = "\
A fault is KIND[,KEY=VALUE]...; the same names are the JSON of POST /sim/faults (times as at_ms, \
for_ms, every_ms, delay_ms).

Kinds on trades (they stay on the tape, so REST has them):
  gap              never sent on WebSocket            count (1), or for
  duplicate        sent twice                         count (1), or for
  late             sent delay later                   count (1), delay (3s)
  reorder          each sent up to delay later        delay (500ms), for
  silence          a symbol stops, all else lives     for; lie=true: Coinbase heartbeats say last_trade_id 0
  malformed        a truncated frame in its place     count (1), or for
Kinds on connections:
  disconnect       drop them                          code (none: TCP only), connection
  cut              disconnect, then refuse            for (5s)
  refuse           no WebSocket, no REST, no answer   for
  slow             each frame delay later             delay (100ms), for
  server_shutdown  Binance's event, then a close      delay until the close (10s)
  notice           OKX's 64008, then a close          delay until the close (10s)
Kinds on REST:
  rest_429, rest_418 (retry_after=seconds), rest_500  count (1), or for
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
    /// A truncated frame takes the trade's place.
    Malformed,
    /// Connections are dropped.
    Disconnect,
    /// Connections are dropped, and new ones refused for a time.
    Cut,
    /// New connections and requests end without an answer.
    Refuse,
    /// Each frame leaves later.
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
    /// REST answers 500.
    #[serde(rename = "rest_500")]
    Rest500,
    /// REST answers late.
    RestSlow,
}

impl FaultKind {
    fn is_one_shot(self) -> bool {
        matches!(
            self,
            FaultKind::Disconnect | FaultKind::ServerShutdown | FaultKind::Notice
        )
    }

    /// How often it strikes when neither a count nor a duration is given.
    fn count_default(self) -> Option<u64> {
        match self {
            FaultKind::Gap
            | FaultKind::Duplicate
            | FaultKind::Late
            | FaultKind::Malformed
            | FaultKind::Rest429
            | FaultKind::Rest418
            | FaultKind::Rest500 => Some(1),
            _ => None,
        }
    }

    fn delay_default_ms(self) -> u64 {
        match self {
            FaultKind::Late => 3_000,
            FaultKind::Reorder => 500,
            FaultKind::Slow => 100,
            FaultKind::RestSlow => 2_000,
            FaultKind::ServerShutdown | FaultKind::Notice => 10_000,
            _ => 0,
        }
    }
}

/// A fault as it is asked for.
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

/// A fault that was set, and what it has done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    /// Its id, for DELETE.
    pub(crate) id: u64,
    /// What was asked for.
    #[serde(flatten)]
    pub(crate) spec: FaultSpec,
    /// When it begins, or began last, milliseconds since the epoch.
    pub(crate) starts_ms: i64,
    /// Strikes left in this round; absent: not counted.
    pub(crate) remaining: Option<u64>,
    /// Trades, requests or events that it has struck.
    pub(crate) hits: u64,
    /// Whether it will not strike any more.
    pub(crate) done: bool,
    #[serde(skip)]
    symbol_key: Option<String>,
    #[serde(skip)]
    fired: bool,
}

impl Fault {
    fn round(&mut self) {
        self.remaining = self.spec.count.or(match self.spec.for_ms {
            Some(_) => None,
            None => self.spec.kind.count_default(),
        });
        self.fired = false;
    }

    /// Moves to the round that `now_ms` is in, and says whether the fault is on.
    fn is_on(&mut self, now_ms: i64) -> bool {
        if let Some(every_ms) = self.spec.every_ms.filter(|every_ms| *every_ms > 0) {
            let rounds = (now_ms - self.starts_ms).div_euclid(every_ms as i64);
            if rounds > 0 {
                self.starts_ms += rounds * every_ms as i64;
                self.round();
            }
        }
        if now_ms < self.starts_ms || self.done {
            return false;
        }
        let for_ms = self
            .spec
            .for_ms
            .or((self.spec.kind == FaultKind::Cut).then_some(5_000));
        let over = for_ms.is_some_and(|for_ms| now_ms >= self.starts_ms + for_ms as i64)
            || self.remaining == Some(0)
            || (self.spec.kind.is_one_shot() && self.fired);
        if over && self.spec.every_ms.is_none() {
            self.done = true;
        }
        !over
    }

    fn strike(&mut self) {
        self.hits += 1;
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(1);
        }
    }

    fn concerns(&self, venue: Venue, symbol: Option<&str>) -> bool {
        self.spec.venue.is_none_or(|only| only == venue)
            && self
                .symbol_key
                .as_deref()
                .is_none_or(|only| symbol == Some(only))
    }

    fn delay_ms(&self) -> u64 {
        self.spec
            .delay_ms
            .unwrap_or(self.spec.kind.delay_default_ms())
    }
}

/// What happens to one trade on its way to the WebSocket clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TradeVerdict {
    /// It is not sent.
    pub(crate) dropped: bool,
    /// It is sent twice.
    pub(crate) duplicated: bool,
    /// Its frame is truncated.
    pub(crate) malformed: bool,
    /// It is sent this many milliseconds later.
    pub(crate) delay_ms: u64,
}

/// What happens to one REST request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestVerdict {
    /// It is answered after this many milliseconds.
    Slow(u64),
    /// It fails with this status and, if given, `Retry-After` in seconds.
    Status(u16, Option<u64>),
}

/// A fault that strikes connections, at its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionFault {
    /// `Disconnect`, `ServerShutdown` or `Notice`; a cut begins with a `Disconnect`.
    pub(crate) kind: FaultKind,
    /// Only at this venue.
    pub(crate) venue: Option<Venue>,
    /// Only this connection.
    pub(crate) connection: Option<u64>,
    /// Close code; none: drop the TCP connection.
    pub(crate) code: Option<u16>,
    /// Milliseconds from the announcement to the close.
    pub(crate) delay_ms: u64,
}

/// All faults that are set.
#[derive(Debug)]
pub(crate) struct Faults {
    set: Mutex<FaultSet>,
    /// Number of faults that may still strike: zero spares the hot path the lock.
    live: AtomicUsize,
}

#[derive(Debug)]
struct FaultSet {
    faults: Vec<Fault>,
    next_id: u64,
    rng: Rng,
}

/// Faults kept at most, done ones included; the oldest done ones go first.
const FAULTS_MAX: usize = 1_000;

impl Faults {
    /// No faults; `seed` decides the delays of a reorder.
    pub(crate) fn new(seed: u64) -> Faults {
        let set = FaultSet {
            faults: Vec::new(),
            next_id: 1,
            rng: Rng(seed),
        };
        Faults {
            set: Mutex::new(set),
            live: AtomicUsize::new(0),
        }
    }

    /// Sets a fault and returns its id; `None` if too many are set.
    pub(crate) fn add(&self, spec: FaultSpec, now_ms: i64) -> Option<u64> {
        let mut set = self.lock();
        if set.faults.len() >= FAULTS_MAX {
            let done = set.faults.iter().position(|fault| fault.done)?;
            set.faults.remove(done);
        }
        let id = set.next_id;
        set.next_id += 1;
        let mut fault = Fault {
            id,
            starts_ms: now_ms + spec.at_ms as i64,
            symbol_key: spec.symbol.as_deref().map(symbol_key),
            spec,
            remaining: None,
            hits: 0,
            done: false,
            fired: false,
        };
        fault.round();
        set.faults.push(fault);
        self.live.store(live(&set.faults), Ordering::Release);
        Some(id)
    }

    /// Lifts one fault, or all; returns how many were lifted.
    pub(crate) fn remove(&self, id: Option<u64>) -> usize {
        let mut set = self.lock();
        let before = set.faults.len();
        set.faults
            .retain(|fault| id.is_some_and(|id| fault.id != id));
        self.live.store(live(&set.faults), Ordering::Release);
        before - set.faults.len()
    }

    /// All faults, done ones included.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Decides about one trade, and counts the strike.
    pub(crate) fn trade(&self, venue: Venue, symbol_key: &str, now_ms: i64) -> TradeVerdict {
        let mut verdict = TradeVerdict::default();
        if self.is_idle() {
            return verdict;
        }
        let mut set = self.lock();
        let FaultSet { faults, rng, .. } = &mut *set;
        for fault in faults.iter_mut() {
            if !fault.concerns(venue, Some(symbol_key)) || !fault.is_on(now_ms) {
                continue;
            }
            match fault.spec.kind {
                FaultKind::Gap | FaultKind::Silence => verdict.dropped = true,
                FaultKind::Duplicate => verdict.duplicated = true,
                FaultKind::Malformed => verdict.malformed = true,
                FaultKind::Late => verdict.delay_ms += fault.delay_ms(),
                FaultKind::Reorder => verdict.delay_ms += rng.next() % (fault.delay_ms() + 1),
                _ => continue,
            }
            fault.strike();
            // One trade is struck by one dropping fault, so that two gaps of five lose ten.
            if verdict.dropped {
                break;
            }
        }
        verdict
    }

    /// Whether connections and requests to a venue end without an answer.
    pub(crate) fn refuses(&self, venue: Venue, now_ms: i64) -> bool {
        self.first(now_ms, |fault| {
            matches!(fault.spec.kind, FaultKind::Refuse | FaultKind::Cut)
                && fault.concerns(venue, None)
        })
        .map(|mut fault| fault.strike())
        .is_some()
    }

    /// Milliseconds that a frame of this connection waits.
    pub(crate) fn frame_delay_ms(&self, venue: Venue, connection: u64, now_ms: i64) -> u64 {
        self.first(now_ms, |fault| {
            fault.spec.kind == FaultKind::Slow
                && fault.concerns(venue, None)
                && fault.spec.connection.is_none_or(|only| only == connection)
        })
        .map_or(0, |mut fault| {
            fault.strike();
            fault.delay_ms()
        })
    }

    /// Whether heartbeats of a silent symbol give a false last trade id.
    pub(crate) fn heartbeat_lies(&self, venue: Venue, symbol_key: &str, now_ms: i64) -> bool {
        self.first(now_ms, |fault| {
            fault.spec.kind == FaultKind::Silence
                && fault.spec.lie
                && fault.concerns(venue, Some(symbol_key))
        })
        .is_some()
    }

    /// Decides about one REST request.
    pub(crate) fn rest(&self, venue: Venue, path: &str, now_ms: i64) -> Option<RestVerdict> {
        self.first(now_ms, |fault| {
            matches!(
                fault.spec.kind,
                FaultKind::Rest429 | FaultKind::Rest418 | FaultKind::Rest500 | FaultKind::RestSlow
            ) && fault.concerns(venue, None)
                && fault
                    .spec
                    .path
                    .as_deref()
                    .is_none_or(|part| path.contains(part))
        })
        .map(|mut fault| {
            fault.strike();
            let retry_after = fault.spec.retry_after.or(Some(1));
            match fault.spec.kind {
                FaultKind::Rest429 => RestVerdict::Status(429, retry_after),
                FaultKind::Rest418 => RestVerdict::Status(418, retry_after),
                FaultKind::Rest500 => RestVerdict::Status(500, None),
                _ => RestVerdict::Slow(fault.delay_ms()),
            }
        })
    }

    /// Faults on connections whose moment has come; each is returned once a round.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<ConnectionFault> {
        if self.is_idle() {
            return Vec::new();
        }
        let mut set = self.lock();
        let mut due = Vec::new();
        for fault in &mut set.faults {
            let strikes = fault.spec.kind.is_one_shot() || fault.spec.kind == FaultKind::Cut;
            if !strikes || !fault.is_on(now_ms) || fault.fired {
                continue;
            }
            fault.fired = true;
            fault.strike();
            due.push(ConnectionFault {
                kind: if fault.spec.kind == FaultKind::Cut {
                    FaultKind::Disconnect
                } else {
                    fault.spec.kind
                },
                venue: fault.spec.venue,
                connection: fault.spec.connection,
                code: fault.spec.code,
                delay_ms: fault.delay_ms(),
            });
        }
        // Faults that are over stop costing the lock.
        for fault in &mut set.faults {
            fault.is_on(now_ms);
        }
        self.live.store(live(&set.faults), Ordering::Release);
        due
    }

    fn is_idle(&self) -> bool {
        self.live.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FaultSet> {
        self.set.lock().expect("no holder of the faults panics")
    }

    fn first(&self, now_ms: i64, wanted: impl Fn(&Fault) -> bool) -> Option<Struck<'_>> {
        if self.is_idle() {
            return None;
        }
        let mut set = self.lock();
        let index = set
            .faults
            .iter_mut()
            .position(|fault| wanted(fault) && fault.is_on(now_ms))?;
        Some(Struck { set, index })
    }
}

/// The fault that was found, under the lock.
struct Struck<'a> {
    set: std::sync::MutexGuard<'a, FaultSet>,
    index: usize,
}

impl Struck<'_> {
    fn strike(&mut self) {
        self.set.faults[self.index].strike();
    }
}

impl std::ops::Deref for Struck<'_> {
    type Target = Fault;

    fn deref(&self) -> &Fault {
        &self.set.faults[self.index]
    }
}

fn live(faults: &[Fault]) -> usize {
    faults.iter().filter(|fault| !fault.done).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        let faults = Faults::new(1);
        faults
            .add(text.parse().expect("a fault"), 1_000_000)
            .expect("there is room");
        faults
    }

    #[test]
    fn the_grammar_reads_every_key() {
        let spec: FaultSpec =
            "late,venue=okx,symbol=btc-usdt,count=2,at=10s,for=1m,every=2h,delay=250ms"
                .parse()
                .expect("a fault");
        assert_eq!(spec.venue, Some(Venue::Okx));
        assert_eq!(
            (spec.at_ms, spec.for_ms, spec.every_ms, spec.delay_ms),
            (10_000, Some(60_000), Some(7_200_000), Some(250))
        );
        for wrong in [
            "",
            "gpa",
            "gap,count",
            "gap,count=x",
            "gap,at=10",
            "gap,at=s",
            "gap,venue=kraken",
            "gap,x=1",
        ] {
            assert!(wrong.parse::<FaultSpec>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_json_has_the_same_names() {
        let spec: FaultSpec =
            serde_json::from_str(r#"{"kind":"rest_429","venue":"binance","retry_after":7}"#)
                .expect("a fault");
        assert_eq!(
            spec,
            "rest_429,venue=binance,retry_after=7"
                .parse()
                .expect("a fault")
        );
        assert!(serde_json::from_str::<FaultSpec>(r#"{"kind":"gap","vneue":"okx"}"#).is_err());
    }

    #[test]
    fn a_gap_takes_its_count_of_its_symbol_from_its_time_on() {
        let faults = faults("gap,venue=binance,symbol=BTC-USDT,count=2,at=1s");
        let dropped = |symbol, now_ms| faults.trade(Venue::Binance, symbol, now_ms).dropped;
        assert!(!dropped("BTCUSDT", 1_000_999));
        assert!(!dropped("ETHUSDT", 1_001_000));
        assert!(dropped("BTCUSDT", 1_001_000));
        assert!(dropped("BTCUSDT", 1_001_500));
        assert!(!dropped("BTCUSDT", 1_001_501));
        assert_eq!(faults.list()[0].hits, 2);
        assert!(faults.list()[0].done);
    }

    #[test]
    fn a_silence_lasts_until_it_is_lifted() {
        let faults = faults("silence,symbol=ETH-USD,lie=true");
        assert!(faults.trade(Venue::Coinbase, "ETHUSD", 9_000_000).dropped);
        assert!(faults.heartbeat_lies(Venue::Coinbase, "ETHUSD", 9_000_000));
        assert!(!faults.heartbeat_lies(Venue::Coinbase, "BTCUSD", 9_000_000));
        assert_eq!(faults.remove(None), 1);
        assert!(!faults.trade(Venue::Coinbase, "ETHUSD", 9_000_001).dropped);
    }

    #[test]
    fn a_repeating_fault_strikes_once_a_round() {
        let faults = faults("disconnect,venue=okx,every=10s");
        assert_eq!(faults.due(1_000_000).len(), 1);
        assert_eq!(faults.due(1_009_999).len(), 0);
        assert_eq!(faults.due(1_010_000).len(), 1);
        assert_eq!(faults.due(1_045_000).len(), 1);
    }

    #[test]
    fn a_cut_disconnects_and_then_refuses_for_its_time() {
        let faults = faults("cut,venue=coinbase,for=30s");
        assert_eq!(faults.due(1_000_000)[0].kind, FaultKind::Disconnect);
        assert_eq!(faults.due(1_000_001).len(), 0);
        assert!(faults.refuses(Venue::Coinbase, 1_029_999));
        assert!(!faults.refuses(Venue::Binance, 1_029_999));
        assert!(!faults.refuses(Venue::Coinbase, 1_030_000));
    }

    #[test]
    fn rest_faults_choose_their_path() {
        let faults = faults("rest_429,venue=binance,path=/klines,retry_after=3,count=1");
        assert_eq!(faults.rest(Venue::Binance, "/api/v3/time", 1_000_000), None);
        assert_eq!(
            faults.rest(Venue::Binance, "/api/v3/klines", 1_000_000),
            Some(RestVerdict::Status(429, Some(3)))
        );
        assert_eq!(
            faults.rest(Venue::Binance, "/api/v3/klines", 1_000_000),
            None
        );
    }
}
