//! The places of messages in their topics.

use std::collections::HashMap;

/// Numbers the messages of each topic: an epoch, and numbers from 1 in it.
#[derive(Debug)]
pub struct Numbers {
    epoch: u64,
    newest: HashMap<String, u64>,
}

impl Numbers {
    /// Of an epoch above all before it.
    #[must_use]
    pub fn new(epoch: u64) -> Numbers {
        Numbers {
            epoch,
            newest: HashMap::new(),
        }
    }

    /// Begins a higher epoch, in which every topic begins anew.
    pub fn renew(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.newest.values_mut().for_each(|number| *number = 0);
    }

    /// How many topics it has numbered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether it has numbered none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Whether it has numbered a topic.
    #[must_use]
    pub fn has(&self, topic: &str) -> bool {
        self.newest.contains_key(topic)
    }

    pub(super) fn next(&mut self, topic: &str) -> (u64, u64) {
        let number = match self.newest.get_mut(topic) {
            Some(number) => number,
            None => self.newest.entry(topic.to_owned()).or_default(),
        };
        *number = number.saturating_add(1);
        (self.epoch, *number)
    }
}
