//! Bars by symbol: the workers that own the pipelines.
//!
//! [`worker`] takes inputs, ticks its symbols and hands on what comes out. `symbol` is one symbol's
//! state machine around its pipeline: inputs in, effects out, no clock and no I/O. [`owned`] is a
//! symbol with what its worker needs to carry out these effects. Three questions have a file each: `clock_trust` (is the venue's clock known?), `proof_wait` (do bars wait for
//! the proof that nobody traded?) and `checkpoint_pace` (when is the state saved?). `carriers` has
//! the time up to which each connection was read, and `meters` the metrics.

mod carriers;
mod checkpoint_pace;
mod clock_trust;
mod meters;
pub mod owned;
mod proof_wait;
mod symbol;
pub mod timing;
pub mod worker;
