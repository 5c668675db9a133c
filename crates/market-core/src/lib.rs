//! Defines trades and bars, and makes bars from trades.
//!
//! Pure code: no tokio, no clock, no I/O. Time is an argument and outputs are values. So the same
//! trades give the same bars for every order of arrival inside the reorder window.
//!
//! [`value`] has exact numbers, names, widths and times. [`series`] turns the trades of one symbol
//! into bars. Its reading order is the flow: a [`Trade`] of a [`Symbol`] passes [`Sequence`]
//! (duplicates out, gaps named), [`ReorderWindow`] (on time, late, or beyond the horizon) and
//! [`Aggregator`] (forming, closed and revised bars); [`Pipeline`] wires the three for one symbol.
//! [`book`] keeps the order book of a market right, or says that there is none.
//! [`wire`] encodes a bar once for every reader, [`channel`] is the table of channels, and
//! [`subject`] is the only place that knows how a topic is named on the bus.

pub mod bar;
pub mod bar_row;
pub mod binance;
pub mod book;
pub mod channel;
pub mod protocol;
pub mod quote;
pub mod series;
pub mod subject;
pub mod topic;
pub mod trade;
pub mod value;
pub mod width_fold;
pub mod wire;

pub use bar::{Bar, BarState, Fold, Quality};
pub use bar_row::BarRow;
pub use book::{BookFault, BookLevels, BookLimits, BookSync, BookTop, BookUpdate};
pub use quote::{PriceLevel, Quote, Ticker};
pub use series::aggregate::Aggregator;
pub use series::checkpoint::{Checkpoint, RestoreError};
pub use series::gap::{Gap, GapEvent, GapEventState};
pub use series::missing::MissingTimes;
pub use series::offered::{Counts, Offered, Origin};
pub use series::pipeline::{BackfillOutcome, BackfillRequest, Output, Pipeline, PipelineConfig};
pub use series::reorder::{Placement, ReorderWindow};
pub use series::sequence::{IdSpan, Sequence, Verdict};
pub use series::{aggregate, gap, pipeline, reorder, sequence};
pub use topic::{ParseTopicError, Topic, TopicPattern};
pub use trade::{AggressorSide, Trade};
pub use value::amount::Amount;
pub use value::clock::{UnixMicros, UnixMillis, VenueClock};
pub use value::price::{ParseDecimalError, Price, Quantity};
pub use value::symbol::{ParseSymbolError, Symbol};
pub use value::timeframe::{ParseTimeframeError, Timeframe, TimeframeSet};
pub use value::unit::Unit;
pub use value::width::{ParseWidthError, Width};
pub use value::{amount, clock, price, symbol, timeframe, unit, width};
pub use width_fold::WidthFold;
