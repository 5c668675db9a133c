//! The life of one connection, as a pure state machine: time and frames in, actions out.

use market_core::{Quote, Ticker, Trade, UnixMicros, UnixMillis, VenueClock};

use super::silence::{Silence, Verdict};
use super::subscriptions::{Refusal, Subscription, Subscriptions};
use crate::exchange::{DecodeError, Event, Exchange, Wanted};
use crate::instrument::InstrumentId;

/// A silence is suspicious after this many times the symbol's usual pause.
const SILENCES_OF_PACE: i64 = 10;
/// And after this many times the configured silence while its pace is not known.
const SILENCES_UNKNOWN_PACE: i64 = 4;
/// Longest pause between two requests about one silent symbol, ms.
const SILENCE_MAX_MS: i64 = 600_000;

/// Timing of a connection; ms.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTiming {
    /// Time within which subscriptions must be acknowledged.
    pub ack_timeout_ms: i64,
    /// Silence of a symbol after which REST is asked.
    pub symbol_silence_ms: i64,
    /// Age at which the connection is replaced.
    pub rotation_age_ms: i64,
    /// Wait after a refusal before a symbol is asked for again; doubles.
    pub refused_retry_ms: i64,
}

/// An action for the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this text frame.
    Send(String),
    /// These symbols are carried from now on.
    Up(Vec<InstrumentId>),
    /// Every symbol is carried or refused: the connection is complete.
    Ready,
    /// The venue does not carry this symbol for now.
    Refused(InstrumentId, Refusal),
    /// Ask REST whether trades of this silent symbol were missed.
    Suspect(InstrumentId),
    /// A silent symbol has traded again.
    Heard(InstrumentId),
    /// Another connection should take over.
    Rotate,
    /// Close: it is no longer needed.
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
    /// The other side closed it, or the network broke it.
    Lost,
    /// It was told to close: another connection has taken over, or the program is stopping.
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
            Self::Lost => "lost",
            Self::Stopped => "stopped",
        }
    }
}

/// The newest state of a market besides its bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The best bid and ask.
    Quote(Quote),
    /// The last 24 hours.
    Ticker(Ticker),
}

/// See the module.
pub struct Connection {
    exchange: &'static dyn Exchange,
    wanted: Wanted,
    /// Quotes and tickers that were not taken yet, in their order.
    values: Vec<(InstrumentId, Value)>,
    timing: ConnectionTiming,
    carried: Vec<Carried>,
    subscriptions: Subscriptions,
    opened_ms: UnixMillis,
    silence: Silence,
    is_ready: bool,
    is_rotating: bool,
    clock: VenueClock,
}

struct Carried {
    instrument: InstrumentId,
    is_up: bool,
    /// REST was asked, and no trade has come since.
    is_silent: bool,
    heard_ms: UnixMillis,
    suspect_after_ms: i64,
    traded_ms: Option<UnixMillis>,
    /// Event time of the newest trade.
    event_ms: Option<UnixMillis>,
    /// Usual time between trades, ms, after at least two.
    pace_ms: Option<i64>,
}

impl Carried {
    /// A trade came. A symbol that trades once a minute must not be suspected after seconds: REST
    /// would be busy with such symbols.
    fn traded(&mut self, event_ms: UnixMillis, now: UnixMillis, symbol_silence_ms: i64) {
        self.heard_ms = now;
        // The fills of one order are one event: they say nothing about when the next one comes.
        if self.event_ms.replace(event_ms) == Some(event_ms) {
            return;
        }
        if let Some(before) = self.traded_ms {
            let pause_ms = now - before;
            self.pace_ms = Some(match self.pace_ms {
                Some(pace_ms) => pace_ms + (pause_ms - pace_ms) / 8,
                None => pause_ms,
            });
        }
        self.traded_ms = Some(now);
        let usual_ms = self
            .pace_ms
            .map_or(SILENCES_UNKNOWN_PACE * symbol_silence_ms, |pace_ms| {
                SILENCES_OF_PACE * pace_ms
            });
        self.suspect_after_ms =
            usual_ms.clamp(symbol_silence_ms, SILENCE_MAX_MS.max(symbol_silence_ms));
    }
}

/// What a frame contained. The edge counts and logs it.
#[derive(Debug, Default)]
pub struct FrameCounts {
    /// Trades of symbols that the connection carries.
    pub trades: u64,
    /// Trades of symbols that it did not ask for.
    pub unsubscribed: u64,
    /// Trades that do not count in bars.
    pub not_for_bars: u64,
    /// Quotes and tickers of symbols that the connection carries.
    pub values: u64,
    /// Messages of an unknown kind.
    pub unknown: u64,
    /// Requests that the venue refused, in its words.
    pub refusals: Vec<String>,
    /// Why the frame could not be read to its end.
    pub malformed: Option<DecodeError>,
}

impl Connection {
    /// A connection opened at `now` for the trades of `symbols`, and for what else is `wanted` of
    /// them; it asks for at most `frame_max` of them in a frame. `clock` is the previous connection's knowledge of the venue's clock.
    #[must_use]
    pub fn new(
        exchange: &'static dyn Exchange,
        symbols: &[Subscription],
        wanted: Wanted,
        frame_max: usize,
        timing: ConnectionTiming,
        clock: Option<VenueClock>,
        now: UnixMillis,
    ) -> Self {
        let carried = symbols.iter().map(|symbol| Carried {
            instrument: symbol.instrument,
            is_up: false,
            is_silent: false,
            heard_ms: now,
            suspect_after_ms: timing.symbol_silence_ms,
            traded_ms: None,
            event_ms: None,
            pace_ms: None,
        });
        Self {
            exchange,
            wanted,
            values: Vec::new(),
            timing,
            carried: carried.collect(),
            subscriptions: Subscriptions::new(
                exchange,
                symbols,
                wanted,
                frame_max,
                timing.refused_retry_ms,
                now,
            ),
            opened_ms: now,
            silence: Silence::since(now),
            is_ready: false,
            is_rotating: false,
            clock: clock.unwrap_or_default(),
        }
    }

    /// The venue's clock minus this host's, ms, after a frame has told it.
    #[must_use]
    pub fn offset_ms(&self) -> Option<i64> {
        self.clock.is_known().then(|| self.clock.offset_ms())
    }

    /// The knowledge of the venue's clock, for the next connection.
    #[must_use]
    pub fn into_clock(self) -> Option<VenueClock> {
        self.clock.is_known().then_some(self.clock)
    }

    /// The symbols that it carries now.
    #[must_use]
    pub fn up(&self) -> Vec<InstrumentId> {
        let up = self.carried.iter().filter(|carried| carried.is_up);
        up.map(|carried| carried.instrument).collect()
    }

    /// Whether the venue answered any subscription.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.subscriptions.was_answered()
    }

    /// A message came that is not a text frame, for example a ping.
    pub fn heard(&mut self, now: UnixMillis) {
        self.silence.broken(now);
    }

    /// Takes a text frame; its trades go to `trades`.
    pub fn frame(
        &mut self,
        text: &str,
        received_us: UnixMicros,
        trades: &mut Vec<(InstrumentId, Trade)>,
        actions: &mut Vec<Action>,
    ) -> FrameCounts {
        let now = received_us.div_euclid(1_000);
        self.heard(now);
        let mut counts = FrameCounts::default();
        // The decoder borrows nothing of ours, so that events can change our state as they come.
        let exchange = self.exchange;
        let span = tracing::trace_span!("decode", exchange = exchange.name());
        let _in_span = span.enter();
        let decoded = exchange.decode(text, received_us, &mut |event| {
            self.event(&event, now, trades, actions, &mut counts);
        });
        counts.malformed = decoded.err();
        counts
    }

    /// The quotes and tickers of the frames since the last call.
    pub fn take_values(&mut self) -> impl Iterator<Item = (InstrumentId, Value)> {
        self.values.drain(..)
    }

    /// A quote or ticker came. It says nothing about trades, so it proves nothing for bars.
    fn value(&mut self, native: &str, value: Value, counts: &mut FrameCounts) {
        let is_wanted = match value {
            Value::Quote(_) => self.wanted.quotes,
            Value::Ticker(_) => self.wanted.tickers,
        };
        if let Some(index) = self.subscriptions.find(native).filter(|_| is_wanted) {
            counts.values += 1;
            self.values.push((self.carried[index].instrument, value));
        }
    }

    fn event(
        &mut self,
        event: &Event<'_>,
        now: UnixMillis,
        trades: &mut Vec<(InstrumentId, Trade)>,
        actions: &mut Vec<Action>,
        counts: &mut FrameCounts,
    ) {
        match *event {
            Event::Trade {
                native,
                trade,
                stamped_ms,
            } => {
                let Some(index) = self.subscriptions.find(native) else {
                    counts.unsubscribed += 1;
                    return;
                };
                let carried = &mut self.carried[index];
                let is_first = carried.traded_ms.is_none();
                carried.traded(trade.event_ms, now, self.timing.symbol_silence_ms);
                let instrument = carried.instrument;
                if std::mem::take(&mut carried.is_silent) {
                    actions.push(Action::Heard(instrument));
                }
                // The last trade from before the subscription may be hours old.
                let tells_clock = !(is_first && self.exchange.begins_with_last_trade());
                if let Some(stamped_ms) = stamped_ms.filter(|_| tells_clock) {
                    self.observe(stamped_ms, now);
                }
                if !self.carried[index].is_up {
                    self.up_now(&[index], now, actions);
                }
                counts.trades += 1;
                trades.push((instrument, trade));
            }
            Event::Quote { native, quote } => self.value(native, Value::Quote(quote), counts),
            Event::Ticker { native, ticker } => self.value(native, Value::Ticker(ticker), counts),
            Event::Time { stamped_ms } => self.observe(stamped_ms, now),
            Event::SubscribedFrame { id } => {
                let indexes = self.subscriptions.acknowledged(id);
                self.up_now(&indexes, now, actions);
            }
            Event::SubscribedSymbol { native } => {
                if let Some(index) = self.subscriptions.find(native) {
                    self.up_now(&[index], now, actions);
                }
            }
            Event::Refused { id, message } => {
                counts.refusals.push(message.to_owned());
                let refused = self.subscriptions.refused(id, message, now);
                self.refused_now(&refused, actions);
            }
            Event::ClosingSoon => self.rotate(actions),
            Event::NotForBars => counts.not_for_bars += 1,
            Event::Unknown => counts.unknown += 1,
            Event::Ignored => {}
        }
    }

    fn observe(&mut self, stamped_ms: UnixMillis, now: UnixMillis) {
        self.clock.observe(stamped_ms, now);
    }

    fn up_now(&mut self, indexes: &[usize], now: UnixMillis, actions: &mut Vec<Action>) {
        let mut instruments = Vec::new();
        for &index in indexes {
            if self.subscriptions.up(index) {
                let carried = &mut self.carried[index];
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

    fn refused_now(&mut self, refused: &[(usize, Refusal)], actions: &mut Vec<Action>) {
        for &(index, refusal) in refused {
            actions.push(Action::Refused(self.carried[index].instrument, refusal));
        }
        self.ready_if_settled(actions);
    }

    fn ready_if_settled(&mut self, actions: &mut Vec<Action>) {
        if !self.is_ready && self.subscriptions.is_settled() {
            self.is_ready = true;
            actions.push(Action::Ready);
        }
    }

    /// REST has trades of a symbol that was silent on some connection. If it was this one, a
    /// successor should take over. Until it is up, the other symbols continue.
    pub fn zombie_found(&mut self, instrument: InstrumentId, actions: &mut Vec<Action>) {
        let carried = self.carried.iter();
        let mut of_instrument = carried.filter(|carried| carried.instrument == instrument);
        if of_instrument.any(|carried| carried.is_silent) {
            self.rotate(actions);
        }
    }

    fn rotate(&mut self, actions: &mut Vec<Action>) {
        if !self.is_rotating {
            self.is_rotating = true;
            actions.push(Action::Rotate);
        }
    }

    /// Moves the clock: sends due messages and judges silences. Call it a few times a second.
    pub fn tick(&mut self, now: UnixMillis, actions: &mut Vec<Action>) {
        if let Some(text) = self.subscriptions.next_frame(now) {
            actions.push(Action::Send(text));
        }
        // There may be nothing to ask for, if all symbols wait after earlier refusals.
        self.ready_if_settled(actions);
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
                // The next request counts from this one.
                carried.heard_ms = now;
                carried.is_silent = true;
                actions.push(Action::Suspect(carried.instrument));
            }
        }
    }

    fn dead(&mut self, now: UnixMillis, actions: &mut Vec<Action>) -> Option<CloseReason> {
        let ack_timeout_ms = self.timing.ack_timeout_ms;
        if let Some(refused) = self.subscriptions.overdue(now, ack_timeout_ms) {
            // A venue that answers nothing may answer on another connection.
            if !self.subscriptions.was_answered() {
                return Some(CloseReason::AckTimeout);
            }
            self.refused_now(&refused, actions);
        }
        match self.silence.judge(self.exchange.limits().keepalive, now) {
            Verdict::Wait => None,
            Verdict::Ask(text) => {
                actions.push(Action::Send(text.to_owned()));
                None
            }
            Verdict::Dead => Some(CloseReason::Silent),
        }
    }
}

#[cfg(test)]
mod tests;
