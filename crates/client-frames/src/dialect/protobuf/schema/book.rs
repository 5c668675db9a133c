//! Order books in the published schema.

use serde::{Deserialize, Deserializer};

/// The best levels of an order book.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
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
    #[prost(enumeration = "BookState", tag = "6")]
    #[serde(deserialize_with = "book_state")]
    pub state: i32,
    #[prost(string, optional, tag = "7")]
    pub reason: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub update_id: Option<String>,
    #[prost(message, repeated, tag = "9")]
    pub bids: Vec<Level>,
    #[prost(message, repeated, tag = "10")]
    pub asks: Vec<Level>,
    #[prost(int64, optional, tag = "11")]
    pub event_ms: Option<i64>,
    #[prost(int64, optional, tag = "12")]
    pub received_us: Option<i64>,
    #[prost(int64, tag = "13")]
    pub published_us: i64,
    #[prost(uint64, optional, tag = "14")]
    pub prev_seq: Option<u64>,
    #[prost(uint32, optional, tag = "15")]
    pub depth: Option<u32>,
    #[prost(fixed32, optional, tag = "16")]
    pub checksum: Option<u32>,
}

/// A price with its quantity; in JSON an array of both.
#[derive(Clone, PartialEq, prost::Message, Deserialize)]
pub struct Level {
    #[prost(string, tag = "1")]
    pub price: String,
    #[prost(string, tag = "2")]
    pub quantity: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub enum BookState {
    Unspecified = 0,
    Valid = 1,
    Invalid = 2,
}

fn book_state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let state = match <&str>::deserialize(deserializer)? {
        "valid" => BookState::Valid,
        "invalid" => BookState::Invalid,
        _ => BookState::Unspecified,
    };
    Ok(state.into())
}
