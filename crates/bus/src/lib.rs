//! How messages travel: NATS, or memory; one contract test suite runs on both.
