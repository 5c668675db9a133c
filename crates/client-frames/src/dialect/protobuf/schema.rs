//! `proto/klinecast/v1/klinecast.proto` in Rust; a test keeps them equal. Publications are read
//! from JSON by the same names.

#![expect(
    missing_docs,
    reason = "the published schema says what each field means"
)]

mod book;
mod request;

use serde::{Deserialize, Deserializer};

pub use self::book::{Book, BookState, Level};
pub use self::request::{Auth, Empty, Op, Past, Request, Since, Subscribe, Unsubscribe};

/// One object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Message {
    #[prost(uint64, tag = "1")]
    pub skipped: u64,
    #[prost(
        oneof = "Content",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15"
    )]
    pub content: Option<Content>,
}

/// What an object says.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Content {
    #[prost(message, tag = "2")]
    Bar(Box<Bar>),
    #[prost(message, tag = "3")]
    Ack(Ack),
    #[prost(message, tag = "4")]
    Error(Error),
    #[prost(message, tag = "5")]
    Boundary(Boundary),
    #[prost(message, tag = "6")]
    Pong(Pong),
    #[prost(message, tag = "7")]
    List(List),
    #[prost(message, tag = "8")]
    SkippedOnly(Skipped),
    #[prost(message, tag = "9")]
    AuthExpiring(AuthExpiring),
    #[prost(message, tag = "10")]
    Live(Live),
    #[prost(message, tag = "11")]
    Trade(Box<Trade>),
    #[prost(message, tag = "12")]
    Quote(Box<Quote>),
    #[prost(message, tag = "13")]
    Ticker(Box<Ticker>),
    #[prost(message, tag = "14")]
    Book(Box<Book>),
    #[prost(string, tag = "15")]
    Json(String),
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
pub struct Bar {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(string, tag = "4")]
    pub symbol: String,
    #[prost(string, tag = "5")]
    pub interval: String,
    #[prost(int64, tag = "6")]
    pub start_ms: i64,
    #[prost(int64, tag = "7")]
    pub end_ms: i64,
    #[prost(string, tag = "8")]
    pub open: String,
    #[prost(string, tag = "9")]
    pub high: String,
    #[prost(string, tag = "10")]
    pub low: String,
    #[prost(string, tag = "11")]
    pub close: String,
    #[prost(string, tag = "12")]
    pub volume: String,
    #[prost(string, optional, tag = "13")]
    pub quote_volume: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub taker_buy_volume: Option<String>,
    #[prost(string, optional, tag = "15")]
    pub taker_buy_quote_volume: Option<String>,
    #[prost(uint64, optional, tag = "16")]
    pub count: Option<u64>,
    #[prost(string, optional, tag = "17")]
    pub first_id: Option<String>,
    #[prost(string, optional, tag = "18")]
    pub last_id: Option<String>,
    #[prost(enumeration = "State", tag = "19")]
    #[serde(deserialize_with = "state")]
    pub state: i32,
    #[prost(uint32, tag = "20")]
    pub rev: u32,
    #[prost(enumeration = "Quality", tag = "21")]
    #[serde(deserialize_with = "quality")]
    pub quality: i32,
    #[prost(int64, optional, tag = "22")]
    pub event_ms: Option<i64>,
    #[prost(int64, optional, tag = "23")]
    pub received_us: Option<i64>,
    #[prost(int64, tag = "24")]
    pub published_us: i64,
    /// Empty in old bars that the bus retains from publishers that did not name it.
    #[prost(string, tag = "25")]
    #[serde(default)]
    pub exchange: String,
}

/// An entry of a topic of trades. One with a field that the schema lacks goes as JSON.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trade {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(string, tag = "4")]
    pub exchange: String,
    #[prost(string, tag = "5")]
    pub symbol: String,
    #[prost(string, tag = "6")]
    pub first_id: String,
    #[prost(string, tag = "7")]
    pub last_id: String,
    #[prost(string, tag = "8")]
    pub price: String,
    #[prost(string, tag = "9")]
    pub quantity: String,
    #[prost(enumeration = "Side", tag = "10")]
    #[serde(deserialize_with = "side")]
    pub aggressor_side: i32,
    #[prost(int64, tag = "11")]
    pub event_ms: i64,
    #[prost(int64, tag = "12")]
    pub received_us: i64,
    #[prost(int64, tag = "13")]
    pub published_us: i64,
}

/// The best bid and ask.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(string, tag = "4")]
    pub exchange: String,
    #[prost(string, tag = "5")]
    pub symbol: String,
    #[prost(string, optional, tag = "6")]
    pub bid: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub bid_quantity: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub ask: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub ask_quantity: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub update_id: Option<String>,
    #[prost(int64, optional, tag = "11")]
    pub event_ms: Option<i64>,
    #[prost(int64, tag = "12")]
    pub received_us: i64,
    #[prost(int64, tag = "13")]
    pub published_us: i64,
}

/// The last 24 hours.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticker {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(string, tag = "4")]
    pub exchange: String,
    #[prost(string, tag = "5")]
    pub symbol: String,
    #[prost(string, tag = "6")]
    pub source: String,
    #[prost(string, optional, tag = "7")]
    pub open: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub high: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub low: Option<String>,
    #[prost(string, tag = "10")]
    pub last: String,
    #[prost(string, optional, tag = "11")]
    pub last_quantity: Option<String>,
    #[prost(string, tag = "12")]
    pub volume: String,
    #[prost(string, optional, tag = "13")]
    pub quote_volume: Option<String>,
    #[prost(uint64, optional, tag = "14")]
    pub count: Option<u64>,
    #[prost(string, optional, tag = "15")]
    pub first_id: Option<String>,
    #[prost(string, optional, tag = "16")]
    pub last_id: Option<String>,
    #[prost(string, optional, tag = "17")]
    pub bid: Option<String>,
    #[prost(string, optional, tag = "18")]
    pub bid_quantity: Option<String>,
    #[prost(string, optional, tag = "19")]
    pub ask: Option<String>,
    #[prost(string, optional, tag = "20")]
    pub ask_quantity: Option<String>,
    #[prost(int64, optional, tag = "21")]
    pub event_ms: Option<i64>,
    #[prost(int64, tag = "22")]
    pub received_us: i64,
    #[prost(int64, tag = "23")]
    pub published_us: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum Side {
    Unspecified = 0,
    Buy = 1,
    Sell = 2,
}

fn side<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let side = match <&str>::deserialize(deserializer)? {
        "buy" => Side::Buy,
        "sell" => Side::Sell,
        _ => Side::Unspecified,
    };
    Ok(side as i32)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    Unspecified = 0,
    Forming = 1,
    Closed = 2,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum Quality {
    Unspecified = 0,
    Complete = 1,
    Gap = 2,
    Backfilled = 3,
    Partial = 4,
    Filled = 5,
}

fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let state = match <&str>::deserialize(deserializer)? {
        "forming" => State::Forming,
        "closed" => State::Closed,
        _ => State::Unspecified,
    };
    Ok(state as i32)
}

fn quality<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let quality = match <&str>::deserialize(deserializer)? {
        "complete" => Quality::Complete,
        "gap" => Quality::Gap,
        "backfilled" => Quality::Backfilled,
        "partial" => Quality::Partial,
        "filled" => Quality::Filled,
        _ => Quality::Unspecified,
    };
    Ok(quality as i32)
}

/// Publications other than bars, as in JSON.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mark {
    Boundary(Boundary),
    Skipped { topic: String, skipped: u64 },
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, repeated, tag = "2")]
    pub topics: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub pending: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub not_resumed: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    pub not_subscribed: Vec<String>,
    #[prost(uint64, optional, tag = "6")]
    pub expires_ms: Option<u64>,
    #[prost(string, repeated, tag = "7")]
    pub unsubscribed: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Error {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, tag = "2")]
    pub code: String,
    #[prost(string, tag = "3")]
    pub message: String,
    #[prost(string, repeated, tag = "4")]
    pub topics: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boundary {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(string, tag = "2")]
    pub interval: String,
    #[prost(int64, tag = "3")]
    pub end_ms: i64,
    #[prost(uint64, tag = "4")]
    pub bars: u64,
    #[prost(uint64, tag = "5")]
    pub missing: u64,
    #[prost(int64, tag = "6")]
    pub published_us: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Pong {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct List {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, repeated, tag = "2")]
    pub subscriptions: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub topics: Vec<String>,
    #[prost(bool, tag = "4")]
    pub truncated: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Skipped {
    #[prost(string, tag = "1")]
    pub topic: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthExpiring {
    #[prost(uint64, tag = "1")]
    pub expires_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Live {
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(bool, tag = "2")]
    pub recovered: bool,
    #[prost(string, optional, tag = "3")]
    pub reason: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub token: Option<String>,
    #[prost(uint64, optional, tag = "5")]
    pub missing: Option<u64>,
}
