//! A shard without clock and sockets.

use std::sync::Mutex;

use bytes::Bytes;
use market_core::protocol::{CloseCode, Request};
use market_core::wire::{BarHead, HistoryQuery};
use serde_json::Value;

use self::world::{A, Client, MS, PACE, SECOND, World, ops};
use super::*;
use crate::dialect::Dialect;
use crate::encode::deflate::{Compression, Window};
use crate::encode::encoding::Encoding;
use crate::encode::frame_budget::FrameBudget;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::past::ReadId;
use crate::topics::folds::{FoldLimits, Folds};
use crate::topics::names::Names;
use crate::topics::state::Depth;
use crate::topics::state::testing::bar;

mod balance;
mod bounds;
mod closes;
mod delivery;
mod fold_crowd;
mod folds;
mod memory;
mod names;
mod pace;
mod pasts;
mod tokens;
mod truth;
mod world;
