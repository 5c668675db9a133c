//! One rule at one symbol: what it remembers, and when it fires.

use std::cmp::Ordering;

use market_core::{Amount, Price, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::bar::WatchedBar;
use crate::edge::Edge;
use crate::percent::{Figure, compare_fall, compare_rise, compare_spread, compare_times};
use crate::quote::SymbolQuote;
use crate::rule::{Condition, Direction, Rule};
use crate::series::Series;

/// What a rule remembers of a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// For rising prices, or for a rule without a direction.
    up: Edge,
    /// For falling prices.
    down: Edge,
    /// The number of its last alert.
    pub seq: u64,
    /// From when on a symbol without any trade is silent; only of rules on silences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since_ms: Option<UnixMillis>,
    /// Since when the spread is wide. After a restart, nobody knows it.
    #[serde(skip)]
    wide_ms: Option<UnixMillis>,
}

/// Which way the price went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Up.
    Up,
    /// Down.
    Down,
    /// The rule has no direction.
    None,
}

impl Way {
    /// As in alerts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::None => "none",
        }
    }
}

/// A rule has fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Firing {
    /// Which way.
    pub way: Way,
    /// Start of the bar in which it fired; of a silence, its beginning.
    pub start_ms: UnixMillis,
    /// Its end.
    pub end_ms: UnixMillis,
    /// What was measured: a price, a volume, a number of missing bars, or seconds.
    pub value: String,
    /// What it was compared with: a price or a volume; seconds of the rule; empty for a gap.
    pub reference: String,
}

/// The newest bar of a symbol, and what came before it.
#[derive(Clone, Copy, Debug)]
pub struct Newest<'a> {
    /// All bars.
    pub series: &'a Series,
    /// The newest one.
    pub bar: &'a WatchedBar,
    /// Whether bars before it are missing.
    pub is_after_hole: bool,
}

/// The highest and the lowest price of a window, before the newest bar's own extremes.
#[derive(Clone, Copy)]
struct Extremes {
    lowest: Price,
    highest: Price,
}

impl Extremes {
    /// Of the bars before the newest one in the window, and its own first price: what came before its
    /// extremes for certain. `None` if the condition is not about a move.
    fn of(condition: &Condition, Newest { series, bar, .. }: Newest<'_>) -> Option<Self> {
        let Condition::Move { window_s, .. } = condition else {
            return None;
        };
        let window_ms = i64::from(*window_s).saturating_mul(1_000);
        let own = Self {
            lowest: bar.open,
            highest: bar.open,
        };
        let before = series.between(bar.end_ms.saturating_sub(window_ms), bar.start_ms);
        Some(before.fold(own, |all, before| Self {
            lowest: all.lowest.min(before.low),
            highest: all.highest.max(before.high),
        }))
    }
}

impl Watch {
    /// Of a rule that is new at a symbol, at `since_ms`. A level counts as crossed only after the price
    /// was seen on the other side.
    #[must_use]
    pub fn new(rule: &Rule, since_ms: UnixMillis) -> Self {
        let edge = Edge::new(!matches!(rule.when, Condition::Cross { .. }));
        Self {
            up: edge,
            down: edge,
            seq: 0,
            since_ms: rule.when.is_of_silence().then_some(since_ms),
            wide_ms: None,
        }
    }

    /// Looks at the newest bar of the symbol, for the first time or after a revision.
    pub fn look(&mut self, rule: &Rule, newest: Newest<'_>) -> Vec<Firing> {
        let times = (newest.bar.start_ms, newest.bar.end_ms);
        let cooldown_ms = i64::from(rule.cooldown_s).saturating_mul(1_000);
        let mut fired = Vec::new();
        // Both directions look at the same bars.
        let extremes = Extremes::of(&rule.when, newest);
        for way in ways(&rule.when) {
            let Some(reading) = Reading::of(&rule.when, way, newest, extremes) else {
                continue;
            };
            let edge = match way {
                Way::Down => &mut self.down,
                Way::Up | Way::None => &mut self.up,
            };
            if edge.step(times, reading.holds, reading.rearms, cooldown_ms) {
                fired.push(Firing {
                    way,
                    start_ms: times.0,
                    end_ms: times.1,
                    value: reading.value,
                    reference: reading.reference,
                });
            }
        }
        fired
    }

    /// Looks at a silence since the trades of a bar that began at `traded_ms`, or since the rule is
    /// there if there was no trade at all. It has lasted until `now_ms` at least. The alert is the same,
    /// whenever the silence is noticed.
    pub fn silence(
        &mut self,
        rule: &Rule,
        traded_ms: Option<UnixMillis>,
        now_ms: UnixMillis,
    ) -> Option<Firing> {
        let Condition::Stale { after_s } = rule.when else {
            return None;
        };
        let traded_ms = traded_ms.or(self.since_ms)?;
        let seconds = |seconds: u32| i64::from(seconds).saturating_mul(1_000);
        let cooldown_ms = seconds(rule.cooldown_s);
        let over_ms = traded_ms.saturating_add(seconds(after_s));
        // A symbol that falls silent again soon, and for good, is told of after the cooldown.
        let end_ms = over_ms.max(self.up.cool_ms(cooldown_ms).unwrap_or(over_ms));
        let fires = now_ms >= end_ms && self.up.step((end_ms, end_ms), true, false, cooldown_ms);
        fires.then(|| Firing {
            way: Way::None,
            start_ms: traded_ms,
            end_ms,
            value: (end_ms.saturating_sub(traded_ms) / 1_000).to_string(),
            reference: after_s.to_string(),
        })
    }

    /// Looks at the newest quote at `now_ms`; `None` if nobody knows the quote now.
    pub fn spread(
        &mut self,
        rule: &Rule,
        quote: Option<&SymbolQuote>,
        now_ms: UnixMillis,
    ) -> Option<Firing> {
        let Condition::Spread { points, for_s, .. } = rule.when else {
            return None;
        };
        self.up.put_back(now_ms);
        let Some(quote) = quote else {
            self.wide_ms = None;
            return None;
        };
        let is = |with| compare_spread(quote.ask, quote.bid, with);
        if is(points) == Ordering::Less {
            self.wide_ms = None;
            if is(rule.when.rearm()) != Ordering::Greater {
                self.up.rearm(now_ms);
            }
            return None;
        }
        // A clock that was put back begins the time again.
        let start_ms = self.wide_ms.map_or(now_ms, |wide_ms| wide_ms.min(now_ms));
        self.wide_ms = Some(start_ms);
        let seconds = |seconds: u32| i64::from(seconds).saturating_mul(1_000);
        let cooldown_ms = seconds(rule.cooldown_s);
        let over_ms = start_ms.saturating_add(seconds(for_s));
        let end_ms = over_ms.max(self.up.cool_ms(cooldown_ms).unwrap_or(over_ms));
        let fires = now_ms >= end_ms && self.up.step((end_ms, end_ms), true, false, cooldown_ms);
        fires.then(|| Firing {
            way: Way::None,
            start_ms,
            end_ms,
            value: quote.ask.to_string(),
            reference: quote.bid.to_string(),
        })
    }

    /// The symbol is traded again, in a bar that begins at `start_ms`. That bar may be older than an
    /// alert: it came too late for it.
    pub fn traded(&mut self, rule: &Rule, start_ms: UnixMillis) {
        if matches!(rule.when, Condition::Stale { .. }) {
            self.up.rearm(start_ms);
        }
    }
}

fn ways(condition: &Condition) -> impl Iterator<Item = Way> {
    let (up, down, none) = match condition {
        Condition::Move { direction, .. } | Condition::Cross { direction, .. } => (
            *direction != Direction::Down,
            *direction != Direction::Up,
            false,
        ),
        Condition::Volume { .. } | Condition::Gap {} => (false, false, true),
        Condition::Spread { .. } | Condition::Stale { .. } => (false, false, false),
    };
    let all = [(up, Way::Up), (down, Way::Down), (none, Way::None)];
    all.into_iter().filter_map(|(has, way)| has.then_some(way))
}

/// What a condition says of the newest bar.
struct Reading {
    holds: bool,
    rearms: bool,
    value: String,
    reference: String,
}

impl Reading {
    /// `None` where nothing can be said yet.
    fn of(
        condition: &Condition,
        way: Way,
        newest: Newest<'_>,
        extremes: Option<Extremes>,
    ) -> Option<Self> {
        let rearm = condition.rearm();
        match condition {
            Condition::Move { percent, .. } => {
                Some(Self::of_move(*percent, rearm, way, newest.bar, extremes?))
            }
            Condition::Cross { price, .. } => Some(Self::of_cross(*price, rearm, way, newest.bar)),
            Condition::Volume {
                times,
                window_s,
                base_s,
                ..
            } => Self::of_volume(*times, rearm, (*window_s, *base_s), newest),
            Condition::Gap {} => {
                let holds = newest.bar.has_gap || newest.is_after_hole;
                Some(Self {
                    holds,
                    rearms: !holds,
                    value: if newest.is_after_hole {
                        "bars"
                    } else {
                        "trades"
                    }
                    .to_owned(),
                    reference: String::new(),
                })
            }
            Condition::Spread { .. } | Condition::Stale { .. } => None,
        }
    }

    /// The bar's extreme against those of the window before it.
    fn of_move(
        percent: Figure,
        rearm: Figure,
        way: Way,
        bar: &WatchedBar,
        Extremes { lowest, highest }: Extremes,
    ) -> Self {
        match way {
            Way::Down => Self {
                holds: compare_fall(bar.low, highest, percent) != Ordering::Less,
                rearms: compare_fall(bar.close, highest, rearm) != Ordering::Greater,
                value: bar.low.to_string(),
                reference: highest.to_string(),
            },
            Way::Up | Way::None => Self {
                holds: compare_rise(bar.high, lowest, percent) != Ordering::Less,
                rearms: compare_rise(bar.close, lowest, rearm) != Ordering::Greater,
                value: bar.high.to_string(),
                reference: lowest.to_string(),
            },
        }
    }

    /// The bar touches the level. The rule re-arms when a later bar closes on the other side.
    fn of_cross(level: Price, rearm: Figure, way: Way, bar: &WatchedBar) -> Self {
        let (holds, rearms, value) = match way {
            Way::Down => (
                bar.low <= level,
                bar.close > level && compare_rise(bar.close, level, rearm) != Ordering::Less,
                bar.low,
            ),
            Way::Up | Way::None => (
                bar.high >= level,
                bar.close < level && compare_fall(bar.close, level, rearm) != Ordering::Less,
                bar.high,
            ),
        };
        Self {
            holds,
            rearms,
            value: value.to_string(),
            reference: level.to_string(),
        }
    }

    fn of_volume(
        times: Figure,
        rearm: Figure,
        (window_s, base_s): (u32, u32),
        Newest { series, bar, .. }: Newest<'_>,
    ) -> Option<Self> {
        let ms = |seconds: u32| i64::from(seconds).saturating_mul(1_000);
        let window_ms = bar.end_ms.saturating_sub(ms(window_s));
        let base_ms = window_ms.saturating_sub(ms(base_s));
        // A base that is not known completely would make usual volumes a spike, and a window would hide one.
        if series.oldest_ms()? > base_ms {
            return None;
        }
        let (mut base, mut window, mut bars) = (Amount::ZERO, Amount::ZERO, 0_i64);
        for known in series.between(base_ms, bar.end_ms) {
            if known.has_gap {
                return None;
            }
            bars = bars.saturating_add(1);
            let sum = if known.start_ms < window_ms {
                &mut base
            } else {
                &mut window
            };
            sum.add(known.volume);
        }
        let width_ms = bar.end_ms.saturating_sub(bar.start_ms);
        let needed = bar.end_ms.saturating_sub(base_ms).checked_div(width_ms)?;
        if bars < needed {
            return None;
        }
        if base.is_zero() {
            return None;
        }
        let compared = |with| compare_times((window, window_s), (base, base_s), with);
        Some(Self {
            holds: compared(times) != Ordering::Less,
            rearms: compared(rearm) != Ordering::Greater,
            value: window.to_string(),
            reference: base.to_string(),
        })
    }
}
