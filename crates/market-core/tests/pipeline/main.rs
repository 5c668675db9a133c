//! The pipeline as its driver sees it: trades, ticks, outages in; bars, requests, gap events out.

mod clocks;
mod closing;
mod doubts;
mod driver;
mod frames;
mod gaps;
mod losses;
mod memory;
mod order;
mod outages;
