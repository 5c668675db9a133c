//! The outcome of each trade that a pipeline is offered.

/// How a trade came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// By the stream.
    Live,
    /// By a request for missing trades.
    Backfill,
}

/// The outcome of an offered trade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// It is in a bar, and no closed bar changed.
    InBar,
    /// It revised closed bars, or was too late for some and is in wider ones.
    Late {
        /// How long after the reorder window it came, ms; 0 if a gap's hold explains it.
        lateness_ms: i64,
    },
    /// Too late for any bar.
    BeyondHorizon {
        /// How long after the reorder window it came, ms.
        lateness_ms: i64,
    },
    /// Seen before.
    Duplicate,
    /// Seen before, with another price, quantity or time; the first trade is kept.
    Conflict,
    /// An aggregate partly seen before; its new part is refetched.
    Overlap,
    /// From long before the feed was joined.
    BeforeJoin,
    /// Its time is too far ahead of the venue's clock: its bar says `gap` until it comes again.
    Future,
    /// Its ids or its time do not fit the earlier ones: it is accepted when others confirm it.
    Implausible,
}

/// How many trades had each outcome since the pipeline was made; an aggregate counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the variants of Offered")]
pub struct Counts {
    pub in_bar: u64,
    pub late: u64,
    pub beyond_horizon: u64,
    pub duplicate: u64,
    pub conflict: u64,
    pub overlap: u64,
    pub before_join: u64,
    pub future: u64,
    pub implausible: u64,
    /// Implausible trades that were accepted later.
    pub confirmed: u64,
}

impl Counts {
    /// Every trade that was offered.
    #[must_use]
    pub fn offered(&self) -> u64 {
        self.in_bar
            + self.late
            + self.beyond_horizon
            + self.duplicate
            + self.conflict
            + self.overlap
            + self.before_join
            + self.future
            + self.implausible
    }

    #[inline]
    pub(crate) fn add(&mut self, offered: Offered) {
        *match offered {
            Offered::InBar => &mut self.in_bar,
            Offered::Late { .. } => &mut self.late,
            Offered::BeyondHorizon { .. } => &mut self.beyond_horizon,
            Offered::Duplicate => &mut self.duplicate,
            Offered::Conflict => &mut self.conflict,
            Offered::Overlap => &mut self.overlap,
            Offered::BeforeJoin => &mut self.before_join,
            Offered::Future => &mut self.future,
            Offered::Implausible => &mut self.implausible,
        } += 1;
    }
}
