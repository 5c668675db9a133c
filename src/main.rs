//! klinecast: the whole system in one process on the memory bus.
fn main() {}
