//! Defines trades and bars, and makes bars from trades.
//!
//! Pure code: no tokio, no clock, no I/O. Time is an argument and outputs are values. So the same
//! trades give the same bars for every order of arrival inside the reorder window.
//!
//! Reading order is the flow: a [`Trade`] of a [`Symbol`] passes [`Sequence`] (duplicates out,
//! gaps named), [`ReorderWindow`] (on time, late, or beyond the horizon) and [`Aggregator`]
//! (forming, closed and revised bars); [`Pipeline`] wires the three for one symbol. [`wire`]
//! encodes a bar once for every reader, [`channel`] is the table of channels, and
//! [`subject`] is the only place that knows how a topic is named on the bus.

pub mod amount;
pub mod clock;
pub mod price;
pub mod symbol;
pub mod timeframe;
pub mod trade;

pub mod aggregate;
pub mod bar;
mod checkpoint;
mod doubt;
pub mod gap;
mod level;
mod missing;
mod offered;
pub mod pipeline;
pub mod reorder;
pub mod sequence;

pub mod channel;
pub mod protocol;
pub mod subject;
pub mod topic;
pub mod wire;

pub use aggregate::Aggregator;
pub use amount::Amount;
pub use bar::{Bar, BarState, Fold, Quality};
pub use checkpoint::{Checkpoint, RestoreError};
pub use clock::{UnixMicros, UnixMillis, VenueClock};
pub use gap::{Gap, GapEvent, GapEventState};
pub use missing::MissingTimes;
pub use offered::{Counts, Offered, Origin};
pub use pipeline::{BackfillOutcome, BackfillRequest, Output, Pipeline, PipelineConfig};
pub use price::{ParseDecimalError, Price, Quantity};
pub use reorder::{Placement, ReorderWindow};
pub use sequence::{IdSpan, Sequence, Verdict};
pub use symbol::{ParseSymbolError, Symbol};
pub use timeframe::{ParseTimeframeError, Timeframe, TimeframeSet};
pub use topic::{ParseTopicError, Topic, TopicPattern};
pub use trade::{AggressorSide, Trade};
