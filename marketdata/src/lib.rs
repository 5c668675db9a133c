//! Exchange frames in, bars out.
