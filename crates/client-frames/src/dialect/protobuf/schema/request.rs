//! What clients ask, in the published schema.

use std::collections::HashMap;

/// A client's frame.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(oneof = "Op", tags = "2, 3, 4, 5, 6")]
    pub op: Option<Op>,
}

/// What is asked.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Op {
    #[prost(message, tag = "2")]
    Sub(Box<Subscribe>),
    #[prost(message, tag = "3")]
    Unsub(Unsubscribe),
    #[prost(message, tag = "4")]
    List(Empty),
    #[prost(message, tag = "5")]
    Ping(Empty),
    #[prost(message, tag = "6")]
    Auth(Auth),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscribe {
    #[prost(string, repeated, tag = "1")]
    pub topics: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub channels: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub symbols: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub exchanges: Vec<String>,
    #[prost(bool, tag = "5")]
    pub closed_only: bool,
    #[prost(string, optional, tag = "6")]
    pub fill: Option<String>,
    #[prost(double, optional, tag = "7")]
    pub max_rate: Option<f64>,
    #[prost(message, optional, tag = "8")]
    pub since: Option<Since>,
    #[prost(message, optional, tag = "9")]
    pub from: Option<Past>,
    #[prost(uint32, optional, tag = "10")]
    pub depth: Option<u32>,
    #[prost(bool, tag = "11")]
    pub changes: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Past {
    #[prost(uint64, optional, tag = "1")]
    pub last: Option<u64>,
    #[prost(int64, optional, tag = "2")]
    pub ms: Option<i64>,
    #[prost(string, optional, tag = "3")]
    pub token: Option<String>,
    #[prost(uint32, optional, tag = "4")]
    pub speed: Option<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Since {
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    #[prost(map = "string, uint64", tag = "2")]
    pub seq: HashMap<String, u64>,
    #[prost(map = "string, int64", tag = "3")]
    pub closed_ms: HashMap<String, i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Unsubscribe {
    #[prost(string, repeated, tag = "1")]
    pub topics: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub channels: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    pub symbols: Vec<String>,
    #[prost(string, repeated, tag = "4")]
    pub exchanges: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Auth {
    #[prost(string, tag = "1")]
    pub token: String,
}

/// Without the token.
impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}
