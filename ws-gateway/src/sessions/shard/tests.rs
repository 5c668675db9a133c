//! A shard without clock and sockets.

use std::sync::Mutex;

use bytes::Bytes;
use market_core::protocol::{CloseCode, Request};
use market_core::wire::{BarHead, HistoryQuery};
use serde_json::Value;

use self::world::{A, Client, MS, PACE, SECOND, World, ops, streams};
use super::*;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::past::ReadId;
use crate::topics::folds::{FoldLimits, Folds};
use crate::topics::names::Names;
use crate::topics::state::Depth;
use crate::topics::state::testing::bar;
use crate::topics::streams::StreamLimits;
use crate::topics::warmth::Warmth;
use client_frames::dialect::Dialect;
use client_frames::encode::deflate::{Compression, Window};
use client_frames::encode::encoding::Encoding;
use client_frames::encode::frame_budget::FrameBudget;

mod balance;
mod books;
mod bounds;
mod closes;
mod delivery;
mod fold_crowd;
mod folds;
mod late;
mod memory;
mod names;
mod pace;
mod pasts;
mod tokens;
mod truth;
mod world;
