//! What a trade and a bar are, and how one becomes the other: pure, no tokio, no clock, no I/O.
