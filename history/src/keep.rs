//! How long stored rows are kept.

use std::fmt;
use std::str::FromStr;

use market_core::UnixMillis;

use crate::completeness::DAY_MS;
use crate::store::Kind;

/// For how long the rows of a kind are kept: `1s=31` or `trades=7`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Which rows.
    pub kind: Kind,
    /// For how many days.
    pub days: u32,
}

/// The text says for no kind of rows how long they are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' does not say how long rows are kept: write a timeframe or trades, = and days, such as 1s=31 or trades=7"
)]
pub struct ParseKeepError(String);

impl FromStr for Keep {
    type Err = ParseKeepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseKeepError(text.chars().take(32).collect());
        let (kind, days) = text.split_once('=').ok_or_else(wrong)?;
        let kind = match kind {
            "trades" => Kind::Trades,
            timeframe => Kind::Bars(timeframe.parse().map_err(|_| wrong())?),
        };
        let days = days
            .parse()
            .ok()
            .filter(|days| (1..=1_000_000).contains(days));
        let days = days.ok_or_else(wrong)?;
        Ok(Self { kind, days })
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Trades => write!(f, "trades={}", self.days),
            Kind::Bars(timeframe) => write!(f, "{timeframe}={}", self.days),
        }
    }
}

impl Keep {
    /// The first instant that is kept.
    pub(crate) fn since_ms(self, now_ms: UnixMillis) -> UnixMillis {
        now_ms.saturating_sub(i64::from(self.days).saturating_mul(DAY_MS))
    }
}

#[cfg(test)]
mod tests {
    use market_core::Timeframe;

    use super::*;

    #[test]
    fn how_long_rows_are_kept_is_read_and_written() {
        for text in ["1s=31", "trades=7", "1M=10000"] {
            let keep: Keep = text.parse().expect(text);
            assert_eq!(keep.to_string(), text);
        }
        let keep: Keep = "1s=2".parse().expect("a rule");
        assert_eq!(keep.kind, Kind::Bars(Timeframe::SECOND));
        assert_eq!(keep.since_ms(10 * DAY_MS), 8 * DAY_MS);
        for text in [
            "",
            "1s",
            "1s=",
            "1s=0",
            "1x=3",
            "trades=-1",
            "all=3",
            "1s=1000001",
        ] {
            let error = text.parse::<Keep>().expect_err(text);
            assert!(error.to_string().contains("trades=7"), "{error}");
        }
    }
}
