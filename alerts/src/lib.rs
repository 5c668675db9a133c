//! Rules over the bars of the bus, and alerts when they fire.
//!
//! # Layout
//!
//! - [`rule`]: what a rule is, and what is refused;
//! - [`engine`]: all rules at all symbols, pure: [`series`] has the bars of a symbol, [`watch`] is one
//!   rule at one symbol, [`edge`] lets it fire once, [`percent`] compares exactly;
//! - [`store`]: what must survive a restart;
//! - [`run`]: the program. It reads closed bars from the journal of the bus, stores what follows from
//!   them in one transaction, and delivers the alerts from there: to the bus, and to webhooks. Rules
//!   come from a file and over HTTP.

mod alert;
pub mod bar;
mod command;
pub mod config;
pub mod edge;
pub mod engine;
mod error;
mod http;
pub mod lateness;
mod metric_help;
pub mod percent;
mod program;
mod publisher;
pub mod quote;
mod quotes;
mod reader;
pub mod rule;
mod secret;
pub mod series;
pub mod store;
pub mod wanted;
pub mod watch;
mod webhook;

pub use config::Config;
pub use error::Error;
pub use program::run;
pub use webhook::{WebhookUrl, WebhookUrlError};
