//! The load client, the benchmarks against peers, and the whole-fleet tests.
