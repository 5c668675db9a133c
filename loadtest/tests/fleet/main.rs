//! The whole fleet as processes, with what goes wrong in production going wrong in it.

mod alerts;
mod binance_books;
mod books;
mod conflation;
mod end_to_end;
mod from_the_past;
mod full_disk;
mod handover;
mod history;
mod hostile;
mod kill_matrix;
mod late_gateway;
mod many;
mod outages;
mod replays;
mod rolling;
mod standstills;
mod takeover;
mod tokens;
mod traces;
mod two_publishers;
mod walkthrough;
