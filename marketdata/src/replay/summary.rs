//! What a replay met.

/// What a replay met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "counts, named by what they count")]
pub struct Summary {
    pub frames: u64,
    pub trades: u64,
    pub duplicates: u64,
    pub late: u64,
    pub beyond_horizon: u64,
    pub future: u64,
    pub before_join: u64,
    pub not_for_bars: u64,
    pub other_instruments: u64,
    pub unknown: u64,
    pub malformed: u64,
    pub unreadable_lines: u64,
    pub gaps: u64,
    pub missing_ids: u64,
    pub missing_spans: u64,
    pub bars: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} frames, {} trades ({} duplicates, {} late, {} beyond the horizon, {} of the future, {} from before the start, {} not for bars, {} of other instruments), {} gaps, {} ids missing in {} spans, {} bars; {} unknown and {} malformed frames, {} unreadable lines",
            self.frames,
            self.trades,
            self.duplicates,
            self.late,
            self.beyond_horizon,
            self.future,
            self.before_join,
            self.not_for_bars,
            self.other_instruments,
            self.gaps,
            self.missing_ids,
            self.missing_spans,
            self.bars,
            self.unknown,
            self.malformed,
            self.unreadable_lines,
        )
    }
}

impl Summary {
    /// Lines and frames that could not be used.
    pub(super) fn useless(&self) -> u64 {
        self.unknown + self.malformed + self.unreadable_lines
    }
}
