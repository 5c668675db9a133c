//! A message from the bus, read once and checked before any client gets it.
//!
//! A message that passes here reaches every client of its topic, is held for new clients, and
//! decides which message is newer. So it must match its subject: one object of valid JSON, of that
//! topic, with numbers that can be true.

mod book;

use market_core::channel::{BOUNDARY, Channel, Class, KLINE};
use market_core::clock::{EPOCH_AHEAD_MAX_MS, UnixMicros, UnixMillis};
use market_core::subject;
use market_core::timeframe::Timeframe;
use market_core::topic::{TOPIC_LEN_MAX, Topic};
use market_core::width::Width;
use market_core::wire::{BarHead, BoundaryMark};
use serde::Deserialize;

use self::book::NoBook;
use crate::topics::state::StreamPosition;

/// No publisher reaches this number within an epoch: a thousand a second take 34 years.
const SEQ_MAX: u64 = 1 << 40;
/// No host has a clock beyond this, unix ms: the year 9999.
const START_MAX_MS: UnixMillis = 253_402_300_799_999;
/// No bar is revised so often.
const REV_MAX: u32 = 1 << 20;
/// No interval has so many bars.
const BARS_MAX: u64 = 1 << 24;
/// Longest part of a subject before the topic's name.
const ROOT_LEN_MAX: usize = KLINE.record_root().len() + 1;

/// The bounds of accepted messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    /// Longest payload.
    pub bytes_max: usize,
    /// How far ahead of this host's clock a bar may begin.
    pub future_max_ms: i64,
}

/// The meaning of a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    /// The topic for clients.
    pub topic: Topic,
    /// What its messages are.
    pub kind: Kind,
}

/// The kind of a subject's messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Bars of this width.
    Bars(Timeframe),
    /// Marks that an interval of this timeframe is finished.
    Marks(Timeframe),
    /// Bars of the past, of any width.
    Past(Width),
    /// Objects that each replace the one before.
    Status,
    /// Entries of a log: each of them counts.
    Entries,
    /// Values of a symbol that each replace the one before.
    Values,
    /// Order books of a symbol that each replace the one before.
    Books,
}

/// An accepted message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Publication<'a> {
    /// A bar, and when it was published, if it says this.
    Bar(BarHead<'a>, Option<UnixMicros>),
    /// A mark.
    Mark(BoundaryMark),
    /// An entry or a value of a symbol.
    Placed(Placed<'a>),
    /// Anything else.
    Status,
}

/// A publication with its place in its topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placed<'a> {
    /// Its place.
    pub position: StreamPosition,
    /// Its venue, if it names it.
    pub exchange: &'a str,
    /// Whether each of them counts ([`Class::Log`]), or only the newest does.
    pub class: Class,
    /// When it was published; only of a valid book, whose readers must know how old it is.
    pub published_us: Option<UnixMicros>,
}

/// Why a message is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It has too many bytes.
    TooLong,
    /// It is not the JSON of its subject.
    Malformed,
    /// It names another topic.
    Misplaced,
    /// Its numbers cannot be true.
    Implausible,
    /// Its bar begins too far ahead of this host's clock.
    Ahead,
}

impl Refusal {
    /// As a label.
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Misplaced => "misplaced",
            Self::Implausible => "implausible",
            Self::Ahead => "ahead",
        }
    }
}

impl Name {
    /// The meaning of a subject; `None` if clients cannot subscribe to it.
    #[must_use]
    pub(crate) fn of_subject(subject_name: &str) -> Option<Self> {
        if subject_name.len() > TOPIC_LEN_MAX + ROOT_LEN_MAX {
            return None;
        }
        // Its own subject, or the second copy of a closed bar.
        let topic = subject::published_topic(subject_name)?;
        let text = topic.as_str();
        let kind = if let Some(rest) = KLINE.rest(text, ':') {
            Kind::Bars(rest.split(':').next()?.parse().ok()?)
        } else if let Some(rest) = BOUNDARY.rest(text, ':') {
            Kind::Marks(rest.parse().ok()?)
        } else {
            let root = text.split(':').next().unwrap_or_default();
            match Channel::of_root(root).map(|channel| (channel.class, channel.symbol_at)) {
                Some((Class::Log, Some(_))) => Kind::Entries,
                Some((Class::Latest, Some(_))) => Kind::Values,
                Some((Class::Book, _)) => Kind::Books,
                _ => Kind::Status,
            }
        };
        Some(Self { topic, kind })
    }

    /// The name of a topic's bars of the past; `None` if it has none.
    pub(crate) fn of_past(topic: &Topic) -> Option<Self> {
        let width = width_of(topic)?;
        Some(Self {
            topic: topic.clone(),
            kind: Kind::Past(width),
        })
    }

    /// Reads a payload of the subject.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn read<'a>(
        &self,
        payload: &'a [u8],
        bounds: Bounds,
        now_ms: UnixMillis,
    ) -> Result<Publication<'a>, Refusal> {
        if payload.len() > bounds.bytes_max {
            return Err(Refusal::TooLong);
        }
        // Frames join objects by newlines, and insert `skipped` after the opening brace. A client
        // ends its session at the first invalid UTF-8 byte.
        let text = std::str::from_utf8(payload).map_err(|_| Refusal::Malformed)?;
        if text.len() <= 2 || !text.starts_with('{') || text.contains('\n') {
            return Err(Refusal::Malformed);
        }
        let latest_ms = now_ms.saturating_add(bounds.future_max_ms);
        match self.kind {
            Kind::Bars(timeframe) => self.bar(text, timeframe.into(), latest_ms),
            Kind::Past(width) => self.bar(text, width, latest_ms),
            Kind::Marks(timeframe) => self.mark(text, timeframe, latest_ms),
            Kind::Entries | Kind::Values => self.placed(&flat(text)?, latest_ms),
            Kind::Books => self.book(text, latest_ms),
            Kind::Status => self.status(text),
        }
    }

    fn book<'a>(&self, text: &'a str, latest_ms: UnixMillis) -> Result<Publication<'a>, Refusal> {
        // Read completely, so that every client can read its depth and its numbers.
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| Refusal::Malformed)?;
        let fields = serde_json::from_str(text).map_err(|_| Refusal::Malformed)?;
        let published_us = book::check(text).map_err(|why| match why {
            NoBook::Malformed => Refusal::Malformed,
            NoBook::Impossible => Refusal::Implausible,
        })?;
        match self.placed(&fields, latest_ms)? {
            Publication::Placed(placed) => Ok(Publication::Placed(Placed {
                published_us,
                ..placed
            })),
            other => Ok(other),
        }
    }

    fn placed<'a>(
        &self,
        fields: &PlacedFields<'a>,
        latest_ms: UnixMillis,
    ) -> Result<Publication<'a>, Refusal> {
        self.check_topic(fields.topic)?;
        // An `op` names a kind of message, and this one is a publication.
        if fields.op.is_some() {
            return Err(Refusal::Malformed);
        }
        // An epoch of 0 is that of a value without a place.
        let is_plausible = fields.seq <= SEQ_MAX
            && fields.epoch > 0
            && fields.epoch <= latest_ms.unsigned_abs().saturating_add(EPOCH_AHEAD_MAX_MS)
            && fields.exchange.len() <= TOPIC_LEN_MAX;
        if !is_plausible {
            return Err(Refusal::Implausible);
        }
        Ok(Publication::Placed(Placed {
            position: StreamPosition {
                epoch: fields.epoch,
                seq: fields.seq,
            },
            exchange: fields.exchange,
            class: match self.kind {
                Kind::Entries => Class::Log,
                Kind::Books => Class::Book,
                _ => Class::Latest,
            },
            published_us: None,
        }))
    }

    fn bar<'a>(
        &self,
        text: &'a str,
        width: Width,
        latest_ms: UnixMillis,
    ) -> Result<Publication<'a>, Refusal> {
        let fields: BarFields<'_> = flat(text)?;
        self.check_topic(fields.topic)?;
        let is_closed = match fields.state {
            "closed" => true,
            "forming" => false,
            _ => return Err(Refusal::Malformed),
        };
        let (start_ms, end_ms) = (fields.start_ms, fields.end_ms);
        // The range first: arithmetic on the remaining values cannot overflow.
        let is_plausible = (0..=START_MAX_MS).contains(&start_ms)
            && width.start_of(start_ms) == start_ms
            && width.end_of(start_ms) == end_ms
            && fields.seq <= SEQ_MAX
            && fields.epoch <= latest_ms.unsigned_abs().saturating_add(EPOCH_AHEAD_MAX_MS)
            && fields.rev <= REV_MAX
            // It is remembered, and sent to clients.
            && fields.exchange.len() <= TOPIC_LEN_MAX;
        if !is_plausible {
            return Err(Refusal::Implausible);
        }
        if start_ms > latest_ms {
            return Err(Refusal::Ahead);
        }
        let head = BarHead {
            seq: fields.seq,
            epoch: fields.epoch,
            start_ms,
            end_ms,
            closed: is_closed,
            rev: fields.rev,
            filled: fields.quality == "filled",
            exchange: fields.exchange,
        };
        Ok(Publication::Bar(head, fields.published_us))
    }

    fn mark(
        &self,
        text: &str,
        timeframe: Timeframe,
        latest_ms: UnixMillis,
    ) -> Result<Publication<'static>, Refusal> {
        let fields: TopicField<'_> = flat(text)?;
        self.check_topic(fields.topic)?;
        let mark = BoundaryMark::read(text.as_bytes()).ok_or(Refusal::Malformed)?;
        if mark.interval.parse() != Ok(timeframe) {
            return Err(Refusal::Misplaced);
        }
        let is_plausible = (0..=latest_ms).contains(&mark.end_ms)
            && timeframe.start_of(mark.end_ms) == mark.end_ms
            && mark.bars <= BARS_MAX
            && mark.missing <= BARS_MAX;
        match is_plausible {
            true => Ok(Publication::Mark(mark)),
            false => Err(Refusal::Implausible),
        }
    }

    fn status(&self, text: &str) -> Result<Publication<'static>, Refusal> {
        // Read completely: every client can then read its depth and its numbers.
        let object: serde_json::Value =
            serde_json::from_str(text).map_err(|_| Refusal::Malformed)?;
        // An `op` names a kind of message, and this one is a publication.
        if object.get("op").is_some() {
            return Err(Refusal::Malformed);
        }
        let topic = object.get("topic").and_then(serde_json::Value::as_str);
        self.check_topic(topic.ok_or(Refusal::Misplaced)?)?;
        Ok(Publication::Status)
    }

    fn check_topic(&self, topic: &str) -> Result<(), Refusal> {
        match topic == self.topic.as_str() {
            true => Ok(()),
            false => Err(Refusal::Misplaced),
        }
    }
}

/// The width of a topic's bars; `None` if it has none.
#[must_use]
pub(crate) fn width_of(topic: &Topic) -> Option<Width> {
    let (width, _) = KLINE.rest(topic.as_str(), ':')?.split_once(':')?;
    width.parse().ok()
}

/// More digits than any number of a bar or mark has, and fewer than a double can have.
const DIGITS_MAX: usize = 300;

/// Reads an object of plain fields: no value of a bar, mark, entry or value of a symbol holds another
/// or needs escapes.
fn flat<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    let (mut digits, mut may_be_too_large) = (0, false);
    for byte in text.bytes().skip(1) {
        match byte {
            b'{' | b'[' | b'\\' => return Err(Refusal::Malformed),
            b'0'..=b'9' => digits += 1,
            other => {
                // Only an exponent or very many digits make a number too large for a client.
                may_be_too_large |= digits > DIGITS_MAX;
                may_be_too_large |= digits > 0 && matches!(other, b'e' | b'E');
                digits = 0;
            }
        }
    }
    if may_be_too_large {
        // Fields that the gateway does not know are read only here. Also a text may look like such
        // a number (the symbol 1E9-USDT), so this reading decides.
        serde_json::from_str::<serde_json::Value>(text).map_err(|_| Refusal::Malformed)?;
    }
    serde_json::from_str(text).map_err(|_| Refusal::Malformed)
}

/// A bar's fields, including the ones that the gateway does not use: each must have its documented
/// type.
#[derive(Deserialize)]
struct BarFields<'a> {
    topic: &'a str,
    seq: u64,
    epoch: u64,
    start_ms: UnixMillis,
    end_ms: UnixMillis,
    state: &'a str,
    rev: u32,
    quality: &'a str,
    #[serde(borrow, default)]
    exchange: &'a str,
    #[serde(default)]
    published_us: Option<UnixMicros>,
    #[serde(default, rename = "event_ms")]
    _event_ms: Option<UnixMillis>,
    #[serde(default, rename = "received_us")]
    _received_us: Option<UnixMicros>,
    #[serde(default, rename = "count")]
    _count: Option<u64>,
    #[serde(default, borrow, rename = "symbol")]
    _symbol: Option<&'a str>,
    #[serde(default, borrow, rename = "interval")]
    _interval: Option<&'a str>,
    #[serde(default, borrow, rename = "open")]
    _open: Option<&'a str>,
    #[serde(default, borrow, rename = "high")]
    _high: Option<&'a str>,
    #[serde(default, borrow, rename = "low")]
    _low: Option<&'a str>,
    #[serde(default, borrow, rename = "close")]
    _close: Option<&'a str>,
    #[serde(default, borrow, rename = "volume")]
    _volume: Option<&'a str>,
}

/// The fields of an entry or a value that the gateway uses. The others are not read: they go to
/// clients as they are.
#[derive(Deserialize)]
struct PlacedFields<'a> {
    topic: &'a str,
    seq: u64,
    epoch: u64,
    exchange: &'a str,
    #[serde(default, rename = "op")]
    op: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct TopicField<'a> {
    topic: &'a str,
}

#[cfg(test)]
mod tests;
