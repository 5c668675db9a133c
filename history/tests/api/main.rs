//! Questions over HTTP and over the bus, and their answers.

mod bars;
mod bus_questions;
mod documents;
mod limits;
mod others;
mod server;
mod tokens;
mod udf;
