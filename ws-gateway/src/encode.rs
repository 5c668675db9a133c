//! Publications as frames, made once for each `encoding` that a session has.
//!
//! A `batch` is what several sessions lack, made into `frame`s; a `payload` is one publication and
//! what is made of it: the form of its dialect, and what `deflate` makes of that.

pub(crate) mod batch;
pub(crate) mod deflate;
pub(crate) mod encoding;
pub(crate) mod frame;
pub(crate) mod frame_budget;
pub(crate) mod payload;
