//! What is followed of an instrument besides its trades.

use clap::ValueEnum;

use crate::exchange::Wanted;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeedChannel {
    /// Nothing.
    None,
    /// The last 24 hours.
    Ticker,
    /// The best bid and ask.
    Quote,
    /// The best levels of the order book, on connections of their own.
    Book,
}

impl FeedChannel {
    /// What a list of them wants of each instrument, beside its trades on their connections.
    #[must_use]
    pub fn wanted(channels: &[Self]) -> Wanted {
        Wanted {
            quotes: channels.contains(&Self::Quote),
            tickers: channels.contains(&Self::Ticker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_wants_what_it_names_and_none_is_nothing() {
        let wanted = |channels: &[FeedChannel]| {
            let Wanted { quotes, tickers } = FeedChannel::wanted(channels);
            (quotes, tickers)
        };
        assert_eq!(wanted(&[FeedChannel::None]), (false, false));
        assert_eq!(wanted(&[FeedChannel::Ticker]), (false, true));
        let both = [FeedChannel::Quote, FeedChannel::Ticker];
        assert_eq!(wanted(&both), (true, true));
        assert_eq!(wanted(&[FeedChannel::Book]), (false, false));
    }
}
