//! Publications as frames, made once for each `encoding` that a session has.
//!
//! A `batch` has the objects that several sessions lack, and their `frame`s. A `payload` is one
//! publication with its encoded forms: the form of its dialect, and the result of `deflate`.

pub mod batch;
pub mod deflate;
pub mod encoding;
pub mod frame;
pub mod frame_budget;
pub mod payload;
