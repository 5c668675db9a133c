//! Topics of widths that nobody publishes, and the timeframes from which they are made.

use market_core::channel::KLINE;
use market_core::{Symbol, Timeframe, Topic, Width};

/// A topic of a width that is folded: its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Made {
    /// The topic that is folded.
    pub topic: Topic,
    /// Its width.
    pub width: Width,
    /// The timeframe of its parts.
    pub source: Timeframe,
}

impl Made {
    /// The topic of the parts.
    #[must_use]
    pub(crate) fn source_topic(&self) -> Option<Topic> {
        let (_, symbol) = KLINE.rest(self.topic.as_str(), ':')?.split_once(':')?;
        format!("{}:{}:{symbol}", KLINE.root, self.source)
            .parse()
            .ok()
    }

    /// The symbol of the bars.
    #[must_use]
    pub(crate) fn symbol(&self) -> Option<Symbol> {
        let (_, symbol) = KLINE.rest(self.topic.as_str(), ':')?.split_once(':')?;
        symbol.parse().ok()
    }

    /// The same of the symbol that another topic of the parts names.
    #[must_use]
    pub(crate) fn of_source(&self, source: &Topic) -> Option<Self> {
        let (_, symbol) = KLINE.rest(source.as_str(), ':')?.split_once(':')?;
        let topic = format!("{}:{}:{symbol}", KLINE.root, self.width)
            .parse()
            .ok()?;
        Some(Self { topic, ..*self })
    }
}
