//! The connections that carry a worker's symbols, and the time up to which each has proved what it
//! read.

use std::collections::HashMap;

use market_core::UnixMillis;

use crate::inbox::ConnectionId;

/// How far bars may advance beyond the proved time: more than the time between two proofs in normal
/// operation, and at most a quarter of the time that they wait for late trades anyway.
const SLACK_MAX_MS: i64 = 500;

/// The time up to which connections have proved that all data is read.
#[derive(Debug)]
pub(crate) struct Carriers {
    slack_ms: i64,
    through_ms: HashMap<ConnectionId, UnixMillis>,
}

impl Carriers {
    /// None yet; bars wait `reorder_window_ms` for late trades.
    pub(crate) fn new(reorder_window_ms: i64) -> Self {
        Self {
            slack_ms: (reorder_window_ms / 4).min(SLACK_MAX_MS),
            through_ms: HashMap::new(),
        }
    }

    /// A connection is up, or carries more symbols.
    pub(crate) fn up(&mut self, connection: ConnectionId, now: UnixMillis) {
        self.through_ms.entry(connection).or_insert(now);
    }

    /// All data that was sent on it until then is read.
    pub(crate) fn read(&mut self, connection: ConnectionId, through_ms: UnixMillis) {
        if let Some(known) = self.through_ms.get_mut(&connection) {
            *known = through_ms.max(*known);
        }
    }

    /// It is gone.
    pub(crate) fn down(&mut self, connection: ConnectionId) {
        self.through_ms.remove(&connection);
    }

    /// How far the time of a symbol may advance at `now` if these connections carry it: data that
    /// one has read may be unread on the others.
    pub(crate) fn limit_ms(&self, connections: &[ConnectionId], now: UnixMillis) -> UnixMillis {
        let through = connections.iter().filter_map(|id| self.through_ms.get(id));
        through.max().map_or(now, |through| {
            through.saturating_add(self.slack_ms).min(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_goes_as_far_as_the_connection_that_has_proved_most() {
        let mut carriers = Carriers::new(2_000);
        assert_eq!(carriers.limit_ms(&[], 9_000), 9_000);
        carriers.up(1, 1_000);
        carriers.up(2, 2_000);
        assert_eq!(carriers.limit_ms(&[1], 9_000), 1_500);
        assert_eq!(carriers.limit_ms(&[1, 2], 9_000), 2_500);
        carriers.read(1, 8_900);
        carriers.read(1, 8_000);
        assert_eq!(carriers.limit_ms(&[1, 2], 9_000), 9_000);
        carriers.down(1);
        carriers.read(1, 9_000);
        assert_eq!(carriers.limit_ms(&[1, 2], 9_000), 2_500);
        assert_eq!(carriers.limit_ms(&[1], 9_000), 9_000);
    }
}
