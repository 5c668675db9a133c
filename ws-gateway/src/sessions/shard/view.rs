//! A topic as of a shard's last pull.

use std::collections::HashMap;
use std::sync::Arc;

use market_core::Topic;
use market_core::channel::{BOUNDARY, Channel, Class};
use market_core::protocol::Filter;

use crate::sessions::called::Called;
use crate::sessions::set_id::SetId;
use crate::topics::state::{Newest, Slot};

/// A topic as of the last pull.
#[derive(Debug)]
pub(super) struct View {
    pub(super) slot: Arc<Slot>,
    pub(super) newest_version: u64,
    /// See [`crate::topics::hub::Changed::lasting`].
    pub(super) lasting_version: u64,
    pub(super) newest: Option<Newest>,
    /// The venue of its bars, if they name it.
    pub(super) exchange: Option<Arc<str>>,
    /// Its name with the venue in front, if its own has none.
    pub(super) alias: Option<Topic>,
    /// The sets that contain it, and the messages of it that they decline.
    pub(super) sets: HashMap<SetId, Filter>,
    /// Whether it comes last in a frame.
    pub(super) is_mark: bool,
    /// Whether each of its messages counts and none is a bar.
    pub(super) is_log: bool,
}

impl View {
    /// The view of a topic that has just appeared, in no set so far.
    pub(super) fn new(slot: Arc<Slot>) -> Self {
        let root = slot.topic.as_str().split(':').next().unwrap_or_default();
        let is_log = |channel: &Channel| channel.class == Class::Log;
        let is_mark = root == BOUNDARY.root;
        Self {
            is_mark,
            is_log: !is_mark && Channel::of_root(root).is_some_and(is_log),
            slot,
            newest_version: 0,
            lasting_version: 0,
            newest: None,
            exchange: None,
            alias: None,
            sets: HashMap::new(),
        }
    }

    /// Its name.
    pub(super) fn called(&self) -> Called<'_> {
        Called {
            topic: &self.slot.topic,
            alias: self.alias.as_ref(),
            is_folded: self.slot.is_folded,
        }
    }

    /// Version of the newest publication that a session with this filter may want.
    pub(super) fn newest_for(&self, filter: Filter) -> u64 {
        match filter.closed_only {
            true => self.lasting_version,
            false => self.newest_version,
        }
    }
}
