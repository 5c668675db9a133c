//! Rules: what is watched, and when it fires.

use std::fmt;
use std::str::FromStr;

use market_core::{Price, Symbol};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::percent::Figure;

/// Most symbols that a rule names.
const SYMBOLS_MAX: usize = 1_000;
/// Longest name.
const NAME_LEN_MAX: usize = 32;
/// Longest time that a rule can name: a day.
const SECONDS_MAX: u32 = 86_400;
/// The least silence that a rule can call stale: bars come a few seconds after their end.
const STALE_SECONDS_MIN: u32 = 10;
/// For how long a rule that fired is silent, unless it says so itself.
const COOLDOWN_SECONDS: u32 = 60;
/// How far a price goes back before a level can be crossed again, unless the rule says so itself.
const CROSS_REARM: Figure = Figure::of_units(1_000);

/// The name of a rule: a part of topics.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleName(Box<str>);

/// Why a rule cannot be used; the text says what to write.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

impl RuleError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl RuleName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(Self(text.into())),
            false => Err(RuleError::new(
                "a rule's name has 1 to 32 small letters, digits and hyphens, such as btc-5",
            )),
        }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RuleName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How urgent an alert is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Worth a look.
    #[default]
    Warning,
    /// Somebody has to act.
    Critical,
}

impl Level {
    /// As in topics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The directions of a price that a rule watches.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Both, each on its own.
    #[default]
    Either,
    /// Rising prices.
    Up,
    /// Falling prices.
    Down,
}

/// The condition of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Condition {
    /// The price moves by a percentage within a window.
    Move {
        /// How far.
        percent: Figure,
        /// Within how many seconds.
        window_s: u32,
        /// Where to.
        #[serde(default)]
        direction: Direction,
        /// It can fire again once the move is no more than this; without it, than half of `percent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rearm_percent: Option<Figure>,
    },
    /// The price comes to a level from the other side.
    Cross {
        /// The level.
        #[serde(with = "price_text")]
        price: Price,
        /// Where to.
        #[serde(default)]
        direction: Direction,
        /// It can fire again once the price is this far on the other side; without it, 0.1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rearm_percent: Option<Figure>,
    },
    /// The volume of a window is a multiple of that of the time before it.
    Volume {
        /// How many times as much.
        times: Figure,
        /// The window, in seconds.
        window_s: u32,
        /// The time before it that is compared, in seconds.
        base_s: u32,
        /// It can fire again once the volume is no more than this many times as much; without it,
        /// half of `times`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rearm_times: Option<Figure>,
    },
    /// The best ask is far above the best bid, for a time.
    Spread {
        /// How far, in basis points of the bid.
        points: Figure,
        /// For how many seconds.
        for_s: u32,
        /// It can fire again once the spread is no more than this; without it, than half of `points`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rearm_points: Option<Figure>,
    },
    /// Trades are missing, or whole bars.
    Gap {},
    /// No trade for a time.
    Stale {
        /// How long, in seconds.
        after_s: u32,
    },
}

mod price_text {
    use market_core::Price;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        price: &Price,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(price)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Price, D::Error> {
        let text = String::deserialize(deserializer)?;
        Price::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Condition {
    /// As in topics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Move { .. } => "move",
            Self::Cross { .. } => "cross",
            Self::Volume { .. } => "volume",
            Self::Spread { .. } => "spread",
            Self::Gap {} => "gap",
            Self::Stale { .. } => "stale",
        }
    }

    /// Whether time alone can fire it.
    #[must_use]
    pub const fn is_of_silence(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// Whether it looks at quotes, and not at bars.
    #[must_use]
    pub const fn is_of_quotes(&self) -> bool {
        matches!(self, Self::Spread { .. })
    }

    /// How many seconds of bars it looks at.
    #[must_use]
    pub const fn horizon_s(&self) -> u32 {
        match self {
            Self::Move { window_s, .. } => *window_s,
            Self::Volume {
                window_s, base_s, ..
            } => window_s.saturating_add(*base_s),
            Self::Cross { .. } | Self::Spread { .. } | Self::Gap {} | Self::Stale { .. } => 0,
        }
    }

    /// At which move, multiple or distance it can fire again.
    #[must_use]
    pub fn rearm(&self) -> Figure {
        match self {
            Self::Move {
                percent,
                rearm_percent,
                ..
            } => rearm_percent.unwrap_or(percent.half()),
            Self::Cross { rearm_percent, .. } => rearm_percent.unwrap_or(CROSS_REARM),
            Self::Volume {
                times, rearm_times, ..
            } => rearm_times.unwrap_or(times.half()),
            Self::Spread {
                points,
                rearm_points,
                ..
            } => rearm_points.unwrap_or(points.half()),
            Self::Gap {} | Self::Stale { .. } => Figure::ZERO,
        }
    }

    fn check(&self) -> Result<(), RuleError> {
        let seconds =
            |name: &str, least: u32, value: u32| match (least..=SECONDS_MAX).contains(&value) {
                true => Ok(()),
                false => Err(RuleError::new(format!(
                    "{name} is from {least} to {SECONDS_MAX}"
                ))),
            };
        match self {
            Self::Move {
                percent,
                window_s,
                direction,
                ..
            } => {
                seconds("window_s", 1, *window_s)?;
                if *percent == Figure::ZERO {
                    return Err(RuleError::new("percent is above 0"));
                }
                if *direction != Direction::Up && *percent >= Figure::HUNDRED {
                    return Err(RuleError::new(
                        "a price cannot fall by 100 percent or more: write a lower percent, or \"direction\": \"up\"",
                    ));
                }
                if self.rearm() >= *percent {
                    return Err(RuleError::new("rearm_percent is below percent"));
                }
            }
            Self::Cross { .. } if self.rearm() >= Figure::HUNDRED => {
                return Err(RuleError::new("rearm_percent is below 100"));
            }
            Self::Volume {
                times,
                window_s,
                base_s,
                ..
            } => {
                seconds("window_s", 1, *window_s)?;
                seconds("base_s", 1, *base_s)?;
                if self.rearm() >= *times {
                    return Err(RuleError::new(
                        "times is above 0, and rearm_times is below times",
                    ));
                }
            }
            Self::Spread { points, for_s, .. } => {
                seconds("for_s", 0, *for_s)?;
                if self.rearm() >= *points {
                    return Err(RuleError::new(
                        "points is above 0, and rearm_points is below points",
                    ));
                }
            }
            Self::Stale { after_s } => seconds("after_s", STALE_SECONDS_MIN, *after_s)?,
            Self::Cross { .. } | Self::Gap {} => {}
        }
        Ok(())
    }
}

/// What is watched, and when it fires.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, a part of its topics.
    pub name: RuleName,
    /// The symbols; `*` alone for all.
    pub symbols: Vec<String>,
    /// The condition.
    pub when: Condition,
    /// How urgent its alerts are.
    #[serde(default)]
    pub level: Level,
    /// For how long it is silent after it fired, in seconds of the bars' time.
    #[serde(default = "cooldown")]
    pub cooldown_s: u32,
}

const fn cooldown() -> u32 {
    COOLDOWN_SECONDS
}

impl Rule {
    /// Checks what its types alone do not say.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check(&self) -> Result<(), RuleError> {
        let are_all = self.symbols == ["*"];
        if self.symbols.is_empty() || self.symbols.len() > SYMBOLS_MAX {
            return Err(RuleError::new(
                "symbols has 1 to 1000 symbols, or \"*\" alone for all",
            ));
        }
        if !are_all {
            for (index, symbol) in self.symbols.iter().enumerate() {
                symbol
                    .parse::<Symbol>()
                    .map_err(|error| RuleError::new(format!("symbols: {error}")))?;
                if self.symbols[..index].contains(symbol) {
                    return Err(RuleError::new(format!("symbols: {symbol} is there twice")));
                }
            }
        }
        if self.cooldown_s > SECONDS_MAX {
            return Err(RuleError::new(format!(
                "cooldown_s is from 0 to {SECONDS_MAX}"
            )));
        }
        self.when.check()
    }

    /// Checks that bars of this width, in seconds, can say what it asks.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check_width(&self, width_s: u32) -> Result<(), RuleError> {
        let name = &self.name;
        let whole = |field: &str, seconds: u32| match seconds.checked_rem(width_s) {
            Some(0) => Ok(()),
            _ => Err(RuleError::new(format!(
                "rule {name}: {field} is a multiple of {width_s}, the seconds of a bar of --alerts-timeframe"
            ))),
        };
        match self.when {
            Condition::Move { window_s, .. } => whole("window_s", window_s),
            Condition::Volume {
                window_s, base_s, ..
            } => whole("window_s", window_s).and_then(|()| whole("base_s", base_s)),
            // Where each bar has trades, the newest closed bar began up to two bars ago.
            Condition::Stale { after_s } if after_s < width_s.saturating_mul(2) => {
                Err(RuleError::new(format!(
                    "rule {name}: after_s is at least {}, two bars of --alerts-timeframe",
                    width_s.saturating_mul(2)
                )))
            }
            Condition::Cross { .. }
            | Condition::Spread { .. }
            | Condition::Gap {}
            | Condition::Stale { .. } => Ok(()),
        }
    }

    /// Whether it watches this symbol.
    #[must_use]
    pub fn watches(&self, symbol: &Symbol) -> bool {
        self.symbols
            .iter()
            .any(|wanted| wanted == "*" || wanted == symbol.as_str())
    }
}

/// The rules of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    rules: Vec<Rule>,
}

/// Reads the JSON of a file of rules: `{"rules": [...]}`.
///
/// # Errors
/// What is wrong, and with which rule.
pub fn read_rules(json: &[u8]) -> Result<Vec<Rule>, RuleError> {
    let file: RuleFile =
        serde_json::from_slice(json).map_err(|error| RuleError::new(error.to_string()))?;
    for (index, rule) in file.rules.iter().enumerate() {
        rule.check()
            .map_err(|error| RuleError::new(format!("rule {}: {error}", rule.name)))?;
        if file.rules[..index]
            .iter()
            .any(|other| other.name == rule.name)
        {
            return Err(RuleError::new(format!("rule {} is there twice", rule.name)));
        }
    }
    Ok(file.rules)
}

#[cfg(test)]
mod tests;
