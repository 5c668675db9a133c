//! Publications as frames, made once for each `encoding` that a session has.
//!
//! A `batch` has the objects that several sessions lack, and their `frame`s. A `payload` is one
//! publication with its encoded forms: the form of its dialect, and the result of `deflate`.

pub(crate) mod batch;
pub(crate) mod deflate;
pub(crate) mod encoding;
pub(crate) mod frame;
pub(crate) mod frame_budget;
pub(crate) mod payload;
