//! One connection's life, as a pure state machine: time and frames in, actions out.

use std::collections::{HashMap, VecDeque};

use market_core::{Trade, UnixMicros, UnixMillis, VenueClock};
use metrics::Counter;

use crate::exchange::{Event, Exchange, Keepalive, SubscribeFrame};
use crate::instrument::InstrumentId;

/// A silence is suspicious from so many times the symbol's usual pause on.
const SILENCES_OF_PACE: i64 = 10;
/// And from so many times the configured silence while its pace is not known.
const SILENCES_UNKNOWN_PACE: i64 = 4;
/// Longest pause between two questions about one silent symbol, ms.
const SILENCE_MAX_MS: i64 = 600_000;

/// Timing of a connection; ms.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTiming {
    /// How long subscriptions may take to be acknowledged.
    pub ack_timeout_ms: i64,
    /// Silence of a symbol after which REST is asked.
    pub symbol_silence_ms: i64,
    /// Age at which the connection is replaced.
    pub rotation_age_ms: i64,
}

/// What the edge is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this text frame.
    Send(String),
    /// These symbols are carried from now on.
    Up(Vec<InstrumentId>),
    /// Every symbol is carried, or refused: the connection is whole.
    Ready,
    /// Ask REST whether trades of this silent symbol were missed.
    Suspect(InstrumentId),
    /// Have another connection take over.
    Rotate,
    /// Close: it is of no more use.
    Close(CloseReason),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It could not be opened.
    ConnectFailed,
    /// Subscriptions were not acknowledged in time.
    AckTimeout,
    /// Nothing came for too long.
    Silent,
    /// Symbols were silent while REST had trades.
    Zombie,
    /// The other side closed it, or the network did.
    Lost,
    /// It was told to: another connection has taken over, or the program is stopping.
    Stopped,
}

impl CloseReason {
    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::AckTimeout => "ack_timeout",
            Self::Silent => "silent",
            Self::Zombie => "zombie",
            Self::Lost => "lost",
            Self::Stopped => "stopped",
        }
    }
}

/// See the module.
pub struct Connection {
    exchange: &'static dyn Exchange,
    timing: ConnectionTiming,
    carried: Vec<Carried>,
    by_native: HashMap<String, usize>,
    outbox: VecDeque<SubscribeFrame>,
    send_after_ms: UnixMillis,
    /// Sent and not acknowledged: by frame number.
    unacknowledged: HashMap<u64, Vec<usize>>,
    sent_last_ms: Option<UnixMillis>,
    opened_ms: UnixMillis,
    heard_ms: UnixMillis,
    asked_ms: Option<UnixMillis>,
    is_ready: bool,
    is_rotating: bool,
    clock: VenueClock,
    has_clock: bool,
    meters: Meters,
}

struct Carried {
    instrument: InstrumentId,
    is_up: bool,
    is_settled: bool,
    heard_ms: UnixMillis,
    suspect_after_ms: i64,
    traded_ms: Option<UnixMillis>,
    /// Usual time between trades, ms, once there were two.
    pace_ms: Option<i64>,
}

impl Carried {
    /// A trade came. Symbols that trade once a minute are not suspected after seconds, or REST
    /// would be busy with them.
    fn traded(&mut self, now: UnixMillis, symbol_silence_ms: i64) {
        if let Some(before) = self.traded_ms {
            let pause_ms = now - before;
            self.pace_ms = Some(match self.pace_ms {
                Some(pace_ms) => pace_ms + (pause_ms - pace_ms) / 8,
                None => pause_ms,
            });
        }
        self.traded_ms = Some(now);
        self.heard_ms = now;
        let usual_ms = self
            .pace_ms
            .map_or(SILENCES_UNKNOWN_PACE * symbol_silence_ms, |pace_ms| {
                SILENCES_OF_PACE * pace_ms
            });
        self.suspect_after_ms =
            usual_ms.clamp(symbol_silence_ms, SILENCE_MAX_MS.max(symbol_silence_ms));
    }
}

struct Meters {
    frames: Counter,
    trades: Counter,
    malformed: Counter,
    unknown: Counter,
    refused: Counter,
    not_for_bars: Counter,
    unsubscribed: Counter,
}

impl Meters {
    fn new(exchange: &'static str) -> Self {
        let frames = |kind: &'static str| metrics::counter!("marketdata_frames_total", "exchange" => exchange, "kind" => kind);
        Self {
            frames: frames("any"),
            malformed: frames("malformed"),
            unknown: frames("unknown"),
            refused: frames("refused"),
            trades: metrics::counter!("marketdata_trades_total", "exchange" => exchange),
            not_for_bars: metrics::counter!("marketdata_trades_not_for_bars_total", "exchange" => exchange),
            unsubscribed: metrics::counter!("marketdata_trades_unsubscribed_total", "exchange" => exchange),
        }
    }
}

impl Connection {
    /// A connection that was opened at `now` to carry `symbols`: (instrument, venue's name).
    /// `clock` is what the connection before it knew of the venue's clock.
    #[must_use]
    pub fn new(
        exchange: &'static dyn Exchange,
        symbols: &[(InstrumentId, String)],
        timing: ConnectionTiming,
        clock: Option<VenueClock>,
        now: UnixMillis,
    ) -> Self {
        let natives: Vec<&str> = symbols.iter().map(|(_, native)| native.as_str()).collect();
        let carried = symbols.iter().map(|&(instrument, _)| Carried {
            instrument,
            is_up: false,
            is_settled: false,
            heard_ms: now,
            suspect_after_ms: timing.symbol_silence_ms,
            traded_ms: None,
            pace_ms: None,
        });
        let indexed = symbols.iter().enumerate();
        Self {
            exchange,
            timing,
            carried: carried.collect(),
            by_native: indexed
                .map(|(index, (_, native))| (native.clone(), index))
                .collect(),
            outbox: exchange.subscribe(&natives, 1).into(),
            send_after_ms: now,
            unacknowledged: HashMap::new(),
            sent_last_ms: None,
            opened_ms: now,
            heard_ms: now,
            asked_ms: None,
            is_ready: false,
            is_rotating: false,
            has_clock: clock.is_some(),
            clock: clock.unwrap_or_default(),
            meters: Meters::new(exchange.name()),
        }
    }

    /// The venue's clock less this host's, ms, once a frame has told it.
    #[must_use]
    pub fn offset_ms(&self) -> Option<i64> {
        self.has_clock.then(|| self.clock.offset_ms())
    }

    /// What is known of the venue's clock, for the connection after this one.
    #[must_use]
    pub fn into_clock(self) -> Option<VenueClock> {
        self.has_clock.then_some(self.clock)
    }

    /// The symbols that it carries now.
    #[must_use]
    pub fn up(&self) -> Vec<InstrumentId> {
        let up = self.carried.iter().filter(|carried| carried.is_up);
        up.map(|carried| carried.instrument).collect()
    }

    /// Something came that is no text frame: a ping, say.
    pub fn heard(&mut self, now: UnixMillis) {
        self.heard_ms = now;
        self.asked_ms = None;
    }

    /// Takes a text frame; its trades go to `trades`.
    pub fn frame(
        &mut self,
        text: &str,
        received_us: UnixMicros,
        trades: &mut Vec<(InstrumentId, Trade)>,
        actions: &mut Vec<Action>,
    ) {
        let now = received_us.div_euclid(1_000);
        self.heard(now);
        self.meters.frames.increment(1);
        let before = trades.len();
        // The decoder borrows nothing of ours, so that events can change us as they come.
        let exchange = self.exchange;
        let span = tracing::trace_span!("decode", exchange = exchange.name());
        let _in_span = span.enter();
        let decoded = exchange.decode(text, received_us, &mut |event| {
            self.event(&event, now, trades, actions);
        });
        if let Err(error) = decoded {
            self.meters.malformed.increment(1);
            tracing::debug!(exchange = exchange.name(), error = %error, "malformed frame");
        }
        self.meters.trades.increment((trades.len() - before) as u64);
    }

    fn event(
        &mut self,
        event: &Event<'_>,
        now: UnixMillis,
        trades: &mut Vec<(InstrumentId, Trade)>,
        actions: &mut Vec<Action>,
    ) {
        match *event {
            Event::Trade {
                native,
                trade,
                stamped_ms,
            } => {
                if let Some(stamped_ms) = stamped_ms {
                    self.observe(stamped_ms, now);
                }
                let Some(&index) = self.by_native.get(native) else {
                    self.meters.unsubscribed.increment(1);
                    return;
                };
                let carried = &mut self.carried[index];
                carried.traded(now, self.timing.symbol_silence_ms);
                let instrument = carried.instrument;
                if !carried.is_up {
                    self.up_now(&[index], now, actions);
                }
                trades.push((instrument, trade));
            }
            Event::Time { stamped_ms } => self.observe(stamped_ms, now),
            Event::SubscribedFrame { id } => {
                if let Some(indexes) = self.unacknowledged.remove(&id) {
                    self.up_now(&indexes, now, actions);
                }
            }
            Event::SubscribedSymbol { native } => {
                if let Some(&index) = self.by_native.get(native) {
                    self.up_now(&[index], now, actions);
                }
            }
            Event::Refused { id, message } => {
                self.meters.refused.increment(1);
                tracing::warn!(
                    exchange = self.exchange.name(),
                    message,
                    "the venue refused a request"
                );
                if let Some(indexes) = id.and_then(|id| self.unacknowledged.remove(&id)) {
                    for index in indexes {
                        self.carried[index].is_settled = true;
                    }
                }
            }
            Event::ClosingSoon => self.rotate(actions),
            Event::NotForBars => self.meters.not_for_bars.increment(1),
            Event::Unknown => self.meters.unknown.increment(1),
            Event::Ignored => {}
        }
    }

    fn observe(&mut self, stamped_ms: UnixMillis, now: UnixMillis) {
        self.clock.observe(stamped_ms, now);
        self.has_clock = true;
    }

    fn up_now(&mut self, indexes: &[usize], now: UnixMillis, actions: &mut Vec<Action>) {
        let mut instruments = Vec::new();
        for &index in indexes {
            let carried = &mut self.carried[index];
            carried.is_settled = true;
            if !carried.is_up {
                carried.is_up = true;
                carried.heard_ms = now;
                instruments.push(carried.instrument);
            }
        }
        if !instruments.is_empty() {
            actions.push(Action::Up(instruments));
        }
        self.ready_if_settled(actions);
    }

    fn ready_if_settled(&mut self, actions: &mut Vec<Action>) {
        if !self.is_ready && self.carried.iter().all(|carried| carried.is_settled) {
            self.is_ready = true;
            actions.push(Action::Ready);
        }
    }

    fn rotate(&mut self, actions: &mut Vec<Action>) {
        if !self.is_rotating {
            self.is_rotating = true;
            actions.push(Action::Rotate);
        }
    }

    /// Moves the clock: sends what is due, judges silences. Call it a few times a second.
    pub fn tick(&mut self, now: UnixMillis, actions: &mut Vec<Action>) {
        self.send_due(now, actions);
        if let Some(reason) = self.dead(now, actions) {
            actions.push(Action::Close(reason));
            return;
        }
        if now - self.opened_ms >= self.timing.rotation_age_ms {
            self.rotate(actions);
        }
        for carried in self.carried.iter_mut().filter(|carried| carried.is_up) {
            if now - carried.heard_ms >= carried.suspect_after_ms {
                carried.suspect_after_ms = (carried.suspect_after_ms * 2).min(SILENCE_MAX_MS);
                // The next question is counted from this one.
                carried.heard_ms = now;
                actions.push(Action::Suspect(carried.instrument));
            }
        }
    }

    fn send_due(&mut self, now: UnixMillis, actions: &mut Vec<Action>) {
        if now < self.send_after_ms {
            return;
        }
        let Some(frame) = self.outbox.pop_front() else {
            return;
        };
        let indexes = frame
            .natives
            .iter()
            .filter_map(|native| self.by_native.get(native));
        self.unacknowledged
            .insert(frame.id, indexes.copied().collect());
        self.send_after_ms = now + self.exchange.limits().send_interval_ms;
        self.sent_last_ms = Some(now);
        actions.push(Action::Send(frame.text));
    }

    fn dead(&mut self, now: UnixMillis, actions: &mut Vec<Action>) -> Option<CloseReason> {
        if let Some(sent_ms) = self.sent_last_ms
            && self.outbox.is_empty()
            && !self.is_ready
            && now - sent_ms >= self.timing.ack_timeout_ms
        {
            // A symbol that the venue refuses without naming it must not cost the others their
            // connection, so only one that carries nothing is given up.
            if self.carried.iter().all(|carried| !carried.is_up) {
                return Some(CloseReason::AckTimeout);
            }
            for carried in &mut self.carried {
                if !carried.is_settled {
                    carried.is_settled = true;
                    tracing::warn!(
                        exchange = self.exchange.name(),
                        instrument = carried.instrument,
                        "subscription was not acknowledged"
                    );
                }
            }
            self.ready_if_settled(actions);
        }
        match self.exchange.limits().keepalive {
            Keepalive::VenueSpeaks { silence_max_ms } => {
                (now - self.heard_ms >= silence_max_ms).then_some(CloseReason::Silent)
            }
            Keepalive::WeAsk {
                idle_ms,
                text,
                answer_max_ms,
            } => match self.asked_ms {
                Some(asked_ms) => (now - asked_ms >= answer_max_ms).then_some(CloseReason::Silent),
                None => {
                    if now - self.heard_ms >= idle_ms {
                        self.asked_ms = Some(now);
                        actions.push(Action::Send(text.to_owned()));
                    }
                    None
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::registry;

    const TIMING: ConnectionTiming = ConnectionTiming {
        ack_timeout_ms: 10_000,
        symbol_silence_ms: 15_000,
        rotation_age_ms: 1_000_000,
    };

    fn connection(exchange: &str, natives: &[&str]) -> Connection {
        let symbols: Vec<(InstrumentId, String)> = natives
            .iter()
            .enumerate()
            .map(|(index, &native)| (index, native.to_owned()))
            .collect();
        let exchange = registry::find(exchange).expect("registered");
        Connection::new(exchange, &symbols, TIMING, None, 0)
    }

    fn tick(connection: &mut Connection, now: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        connection.tick(now, &mut actions);
        actions
    }

    fn frame(
        connection: &mut Connection,
        text: &str,
        now: i64,
    ) -> (Vec<Action>, Vec<(usize, Trade)>) {
        let (mut actions, mut trades) = (Vec::new(), Vec::new());
        connection.frame(text, now * 1_000, &mut trades, &mut actions);
        (actions, trades)
    }

    fn binance_trade(id: u64, at: i64) -> String {
        format!(
            r#"{{"e":"trade","E":{at},"s":"BTCUSDT","t":{id},"p":"5","q":"1","T":{at},"m":true,"M":true}}"#
        )
    }

    #[test]
    fn subscribes_are_paced_below_the_venues_message_limit() {
        let natives: Vec<String> = (0..200).map(|index| format!("C{index}USDT")).collect();
        let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
        let mut connection = connection("binance", &natives);
        let mut sent_ms = Vec::new();
        for now in 0..5_000 {
            for action in tick(&mut connection, now) {
                assert!(matches!(action, Action::Send(_)), "{action:?}");
                sent_ms.push(now);
            }
        }
        assert_eq!(sent_ms, [0, 300, 600, 900]);
    }

    #[test]
    fn symbols_are_up_once_their_frame_is_acknowledged() {
        let mut connection = connection("binance", &["BTCUSDT", "ETHUSDT"]);
        assert!(
            matches!(&tick(&mut connection, 0)[..], [Action::Send(text)] if text.contains("btcusdt@trade"))
        );
        let (actions, _) = frame(&mut connection, r#"{"result":null,"id":1}"#, 40);
        assert_eq!(actions, [Action::Up(vec![0, 1]), Action::Ready]);
        assert_eq!(connection.up(), [0, 1]);
        let (actions, trades) = frame(&mut connection, &binance_trade(7, 50), 60);
        assert_eq!((actions.len(), trades.len()), (0, 1));
        assert_eq!(connection.offset_ms(), Some(-10));
    }

    #[test]
    fn a_subscription_that_nobody_acknowledges_is_given_up() {
        let mut connection = connection("binance", &["BTCUSDT"]);
        tick(&mut connection, 0);
        assert_eq!(tick(&mut connection, 9_999), []);
        assert_eq!(
            tick(&mut connection, 10_000),
            [Action::Close(CloseReason::AckTimeout)]
        );
    }

    #[test]
    fn one_refused_symbol_does_not_cost_the_others_their_connection() {
        let mut connection = connection("okx", &["BTC-USDT", "XYZ-USDT"]);
        tick(&mut connection, 0);
        let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}"#;
        assert_eq!(frame(&mut connection, ack, 10).0, [Action::Up(vec![0])]);
        let error = r#"{"event":"error","code":"60018","msg":"Wrong URL or channel"}"#;
        assert_eq!(frame(&mut connection, error, 11).0, []);
        assert_eq!(tick(&mut connection, 10_000), [Action::Ready]);
    }

    #[test]
    fn okx_is_asked_after_20_s_of_silence_and_given_up_without_an_answer() {
        let mut connection = connection("okx", &["BTC-USDT"]);
        tick(&mut connection, 0);
        let ack = r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"}}"#;
        frame(&mut connection, ack, 1_000);
        let asked = Action::Send("ping".to_owned());
        assert!(!tick(&mut connection, 20_999).contains(&asked));
        assert!(tick(&mut connection, 21_000).contains(&asked));
        frame(&mut connection, "pong", 21_050);
        assert!(tick(&mut connection, 41_050).contains(&asked));
        assert_eq!(
            tick(&mut connection, 49_050),
            [Action::Close(CloseReason::Silent)]
        );
    }

    #[test]
    fn a_venue_that_should_speak_and_does_not_is_given_up() {
        let mut connection = connection("coinbase", &["BTC-USD"]);
        tick(&mut connection, 0);
        let ack =
            r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#;
        frame(&mut connection, ack, 10);
        assert_eq!(tick(&mut connection, 10_009), []);
        assert_eq!(
            tick(&mut connection, 10_010),
            [Action::Close(CloseReason::Silent)]
        );
    }

    #[test]
    fn a_silent_symbol_is_suspected_less_and_less_often_until_it_trades() {
        let mut connection = connection("binance", &["BTCUSDT"]);
        tick(&mut connection, 0);
        frame(&mut connection, r#"{"result":null,"id":1}"#, 0);
        let mut asked_ms = Vec::new();
        for now in (0..200_000).step_by(1_000) {
            connection.heard(now);
            if tick(&mut connection, now).contains(&Action::Suspect(0)) {
                asked_ms.push(now);
            }
        }
        assert_eq!(asked_ms, [15_000, 45_000, 105_000]);
        for (id, at) in [(1, 200_000), (2, 200_100)] {
            frame(&mut connection, &binance_trade(id, at), at);
        }
        assert_eq!(tick(&mut connection, 215_099), []);
        assert_eq!(tick(&mut connection, 215_100), [Action::Suspect(0)]);
    }

    #[test]
    fn a_symbol_that_rarely_trades_is_suspected_later() {
        let mut connection = connection("binance", &["BTCUSDT"]);
        tick(&mut connection, 0);
        for id in 1..10 {
            let at = id * 6_000;
            frame(&mut connection, &binance_trade(id as u64, at), at);
        }
        connection.heard(113_999);
        assert_eq!(tick(&mut connection, 113_999), []);
        assert_eq!(tick(&mut connection, 114_000), [Action::Suspect(0)]);
    }

    #[test]
    fn it_is_replaced_before_the_venue_cuts_it_or_when_the_venue_says_so() {
        let mut aged = connection("binance", &["BTCUSDT"]);
        tick(&mut aged, 0);
        frame(&mut aged, r#"{"result":null,"id":1}"#, 0);
        aged.heard(1_000_000);
        assert!(tick(&mut aged, 1_000_000).contains(&Action::Rotate));
        assert!(
            !tick(&mut aged, 1_000_001).contains(&Action::Rotate),
            "once"
        );

        let shutdown = r#"{"e":"serverShutdown","E":1770123456789}"#;
        assert_eq!(
            frame(&mut connection("binance", &["BTCUSDT"]), shutdown, 5).0,
            [Action::Rotate]
        );
        let notice = r#"{"event":"notice","code":"64008","msg":"..."}"#;
        assert_eq!(
            frame(&mut connection("okx", &["BTC-USDT"]), notice, 5).0,
            [Action::Rotate]
        );
    }

    #[test]
    fn an_old_last_match_is_a_trade_but_does_not_set_the_clock() {
        let mut connection = connection("coinbase", &["BTC-USD"]);
        let last = r#"{"type":"last_match","trade_id":9,"side":"buy","size":"1","price":"400.2","product_id":"BTC-USD","time":"2014-11-07T08:17:40Z"}"#;
        let (_, trades) = frame(&mut connection, last, 1_415_348_367_000);
        assert_eq!(trades.len(), 1);
        assert_eq!(connection.offset_ms(), None);
    }
}
