//! The names of keys in a cache that other programs read, too.

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

/// Names keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheKeys {
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

    fn root(self) -> &'static str {
        match self.is_simulated {
            true => "simulated:market_data",
            false => "market_data",
        }
    }

    fn market(self, key: &CacheKey) -> String {
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
            is_simulated: false,
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
}
