//! Bars in, client frames out.
