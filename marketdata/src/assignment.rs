//! A symbol on its way to its worker.

use market_core::Pipeline;

use crate::instrument::{Instrument, InstrumentId};

/// A symbol as its worker gets it.
#[derive(Debug)]
pub struct Assignment {
    /// Its id in the plan.
    pub id: InstrumentId,
    /// The number of the assignment, which is never used again. Answers to requests that were made
    /// under another number are not for this pipeline.
    pub number: u64,
    /// What it is.
    pub instrument: Instrument,
    /// New, or restored.
    pub pipeline: Pipeline,
}
