//! Reads of the record, page by page: a fleet of thousands of instruments has hundreds of megabytes
//! of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError, Message, PAGE_MESSAGES_MAX, Position, Range, Start};

use crate::host_clock::now_ms;
use crate::publish::book::RecordHead;

/// Pause before a server that lags is asked again.
const LAG: Duration = Duration::from_millis(20);
/// How often servers that lag are asked again in one read, of however many records.
pub(super) const LAG_TRIES_MAX: u32 = 100;

/// For how long a read still waits for servers that lag.
#[derive(Debug)]
pub(crate) struct Patience {
    tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: LAG_TRIES_MAX,
        }
    }
}

/// The messages of some records, in the order in which the stream took them.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    pub(crate) by_record: HashMap<Arc<str>, Vec<RecordHead>>,
    /// Messages that were read.
    pub(crate) messages: u64,
}

impl Heads {
    /// Takes a message. One whose numbers cannot be true counts as none.
    fn take(&mut self, message: &Message) {
        self.messages += 1;
        if let Some(head) = RecordHead::read(&message.payload, now_ms()) {
            let subject = Arc::clone(&message.subject);
            self.by_record.entry(subject).or_default().push(head);
        }
    }
}

/// Reads what a stream keeps from `start` on.
///
/// # Errors
/// As [`bus::StreamStore::range`].
pub(crate) async fn pages(
    bus: &dyn Bus,
    pattern: &str,
    start: Start,
    mut take: impl FnMut(&Message),
) -> Result<(), BusError> {
    let mut start = start;
    loop {
        let page = Range::new(pattern, start, PAGE_MESSAGES_MAX);
        let page = bus.streams().range(&page).await?;
        page.messages.iter().for_each(&mut take);
        match page.end() {
            Some(end) if !page.is_end => start = Start::After(end),
            _ => return Ok(()),
        }
    }
}

/// The same. A server of a cluster may lag: it is asked until it has the message of `up_to`, which the
/// pattern must match. False if it has not in time.
///
/// # Errors
/// As [`bus::StreamStore::range`].
pub(crate) async fn pages_up_to(
    bus: &dyn Bus,
    pattern: &str,
    mut start: Start,
    up_to: u64,
    patience: &mut Patience,
    mut take: impl FnMut(&Message),
) -> Result<bool, BusError> {
    loop {
        let mut end = None;
        let take = |message: &Message| {
            end = message.position.as_deref().copied();
            take(message);
        };
        pages(bus, pattern, start, take).await?;
        start = end.map_or(start, Start::After);
        let has_sequence = match start {
            Start::After(position) => position.sequence,
            Start::Oldest | Start::Since(_) => 0,
        };
        if has_sequence >= up_to {
            return Ok(true);
        }
        let Some(tries) = patience.tries.checked_sub(1) else {
            return Ok(false);
        };
        patience.tries = tries;
        tokio::time::sleep(LAG).await;
    }
}

/// What the stream of `pattern` took after a position, as [`pages_up_to`].
///
/// # Errors
/// As [`bus::StreamStore::range`].
pub(crate) async fn since(
    bus: &dyn Bus,
    pattern: &str,
    position: Position,
    up_to: u64,
    patience: &mut Patience,
) -> Result<Option<Heads>, BusError> {
    let mut heads = Heads::default();
    let start = Start::After(position);
    let take = |message: &Message| heads.take(message);
    let is_whole = pages_up_to(bus, pattern, start, up_to, patience, take).await?;
    Ok(is_whole.then_some(heads))
}
