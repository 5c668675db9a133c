//! OKX's channels, and the names of its bars.

use crate::interval::{DAY_MS, Interval};

/// Bars: name, interval, and whether days begin at midnight UTC+8 (the `utc` names do not).
const BARS: [(&str, Interval, bool); 23] = [
    ("1s", Interval::Fixed(1_000), false),
    ("1m", Interval::MINUTE, false),
    ("3m", Interval::Fixed(180_000), false),
    ("5m", Interval::Fixed(300_000), false),
    ("15m", Interval::Fixed(900_000), false),
    ("30m", Interval::Fixed(1_800_000), false),
    ("1H", Interval::Fixed(3_600_000), false),
    ("2H", Interval::Fixed(7_200_000), false),
    ("4H", Interval::Fixed(14_400_000), false),
    ("6H", Interval::Fixed(21_600_000), true),
    ("12H", Interval::Fixed(43_200_000), true),
    ("1D", Interval::Fixed(DAY_MS), true),
    ("2D", Interval::Fixed(2 * DAY_MS), true),
    ("3D", Interval::Fixed(3 * DAY_MS), true),
    ("1W", Interval::Week, true),
    ("1M", Interval::Months(1), true),
    ("3M", Interval::Months(3), true),
    ("6Hutc", Interval::Fixed(21_600_000), false),
    ("12Hutc", Interval::Fixed(43_200_000), false),
    ("1Dutc", Interval::Fixed(DAY_MS), false),
    ("3Dutc", Interval::Fixed(3 * DAY_MS), false),
    ("1Wutc", Interval::Week, false),
    ("1Mutc", Interval::Months(1), false),
];

/// Place of a bar's name in the table.
pub(crate) fn find_bar(name: &str) -> Option<u8> {
    BARS.iter()
        .position(|(known, _, _)| *known == name)
        .map(|at| at as u8)
}

/// Interval and offset in milliseconds of a bar.
pub(crate) fn bar_interval(bar: u8) -> (Interval, i64) {
    let (_, interval, east) = BARS[usize::from(bar)];
    (interval, if east { 8 * 3_600_000 } else { 0 })
}

/// A channel of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// `trades`: aggregates
    Trades,
    /// `trades-all`: single trades, on the business URL
    TradesAll,
    /// `tickers`
    Tickers,
    /// `books`: snapshot and changes
    Books,
    /// `books5`
    Books5,
    /// `bbo-tbt`
    Best,
    /// `candle<bar>`, on the business URL
    Candle(u8),
}

impl Feed {
    /// The channel's name.
    pub(crate) fn name(self) -> String {
        match self {
            Feed::Trades => "trades".to_owned(),
            Feed::TradesAll => "trades-all".to_owned(),
            Feed::Tickers => "tickers".to_owned(),
            Feed::Books => "books".to_owned(),
            Feed::Books5 => "books5".to_owned(),
            Feed::Best => "bbo-tbt".to_owned(),
            Feed::Candle(bar) => format!("candle{}", BARS[usize::from(bar)].0),
        }
    }

    /// The channel of a name.
    pub(crate) fn parse(name: &str) -> Option<Feed> {
        Some(match name {
            "trades" => Feed::Trades,
            "trades-all" => Feed::TradesAll,
            "tickers" => Feed::Tickers,
            "books" => Feed::Books,
            "books5" => Feed::Books5,
            "bbo-tbt" => Feed::Best,
            _ => Feed::Candle(find_bar(name.strip_prefix("candle")?)?),
        })
    }

    /// Whether the channel is on the business URL.
    pub(super) fn is_business(self) -> bool {
        matches!(self, Feed::TradesAll | Feed::Candle(_))
    }
}
