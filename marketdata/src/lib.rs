//! Exchange frames in, bars out.

pub mod exchange;
