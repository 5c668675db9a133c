//! The names of keys in a cache that other programs read, too.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;

use super::entry::{CacheKey, Value};

/// How symbols are written in the names of keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum SymbolSpelling {
    /// As everywhere in Klinecast: `BTC-USDT`.
    #[default]
    Dashed,
    /// Without the dash, as Binance writes them: `BTCUSDT`.
    Joined,
}

/// What the names of all keys begin with: letters, digits, `-`, `_`, `.` and `:`, at most 64 of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CachePrefix(Box<str>);

/// A text that is no prefix of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a prefix has 1 to 64 letters, digits and -_.: and does not end with a colon")]
pub struct InvalidPrefix;

impl FromStr for CachePrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        let is_it =
            (1..=64).contains(&text.len()) && text.bytes().all(is_plain) && !text.ends_with(':');
        is_it.then(|| Self(text.into())).ok_or(InvalidPrefix)
    }
}

impl Default for CachePrefix {
    fn default() -> Self {
        Self("market_data".into())
    }
}

impl fmt::Display for CachePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names keys.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CacheKeys {
    /// What all names begin with. Fleets with one Redis have one each.
    pub prefix: CachePrefix,
    /// How symbols are written.
    pub symbols: SymbolSpelling,
    /// Whether the values are simulated: they never mix with values of a market.
    pub is_simulated: bool,
}

impl CacheKeys {
    /// The name of a value: `market_data:tick:binance:BTC-USDT`.
    #[must_use]
    pub fn value(&self, key: &CacheKey) -> String {
        let market = self.market(key);
        let root = self.root();
        match key.value {
            Value::Tick => format!("{root}:tick:{market}"),
            Value::Kline(timeframe) => format!("{root}:kline:{market}:{timeframe}"),
            Value::Orderbook => format!("{root}:orderbook:{market}"),
        }
    }

    /// The name of the rank of a value: the value itself is what the bus carried.
    #[must_use]
    pub fn rank(&self, key: &CacheKey) -> String {
        format!("{}:rank", self.value(key))
    }

    /// The name of the newest ticks of a market: `market_data:tick_history:binance:BTC-USDT`.
    #[must_use]
    pub fn ticks(&self, key: &CacheKey) -> String {
        format!("{}:tick_history:{}", self.root(), self.market(key))
    }

    fn root(&self) -> String {
        match self.is_simulated {
            true => format!("simulated:{}", self.prefix),
            false => self.prefix.to_string(),
        }
    }

    fn market(&self, key: &CacheKey) -> String {
        let CacheKey { exchange, pair, .. } = key;
        match self.symbols {
            SymbolSpelling::Dashed => format!("{exchange}:{pair}"),
            SymbolSpelling::Joined => format!("{exchange}:{}", pair.replace('-', "")),
        }
    }
}

#[cfg(test)]
mod tests {
    use market_core::Timeframe;

    use super::*;

    #[test]
    fn keys_have_the_names_that_other_programs_read() {
        let key = |value| CacheKey {
            exchange: "binance".into(),
            pair: "BTC-USDT".into(),
            value,
        };
        let joined = CacheKeys {
            symbols: SymbolSpelling::Joined,
            ..CacheKeys::default()
        };
        let minute = Value::Kline(Timeframe::MINUTE);
        for (value, name) in [
            (Value::Tick, "market_data:tick:binance:BTCUSDT"),
            (minute, "market_data:kline:binance:BTCUSDT:1m"),
            (Value::Orderbook, "market_data:orderbook:binance:BTCUSDT"),
        ] {
            assert_eq!(joined.value(&key(value)), name);
        }
        let ticks = joined.ticks(&key(Value::Tick));
        assert_eq!(ticks, "market_data:tick_history:binance:BTCUSDT");
        let keys = CacheKeys::default();
        let tick = key(Value::Tick);
        assert_eq!(keys.value(&tick), "market_data:tick:binance:BTC-USDT");
        assert_eq!(keys.rank(&tick), "market_data:tick:binance:BTC-USDT:rank");
        let simulated = CacheKeys {
            is_simulated: true,
            ..keys
        };
        let name = simulated.value(&tick);
        assert_eq!(name, "simulated:market_data:tick:binance:BTC-USDT");
    }

    #[test]
    fn fleets_with_one_redis_keep_apart_by_the_prefix() {
        let key = CacheKey {
            exchange: "okx".into(),
            pair: "BTC-USDT".into(),
            value: Value::Tick,
        };
        let keys = CacheKeys {
            prefix: "staging:market_data".parse().expect("a prefix"),
            ..CacheKeys::default()
        };
        let market = "okx:BTC-USDT";
        assert_eq!(
            keys.value(&key),
            format!("staging:market_data:tick:{market}")
        );
        assert_eq!(
            keys.rank(&key),
            format!("staging:market_data:tick:{market}:rank")
        );
        assert_eq!(
            keys.ticks(&key),
            format!("staging:market_data:tick_history:{market}")
        );
        let long = "x".repeat(65);
        for text in ["", "a b", "a:", "a\n", "a*", long.as_str()] {
            assert_eq!(text.parse::<CachePrefix>(), Err(InvalidPrefix), "{text}");
        }
    }
}
