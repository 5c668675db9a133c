//! How many bytes of frames for single sessions a gateway holds: answers, and updates for sessions
//! that have fallen behind. A client that does not read holds them until it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The bytes of such frames, and their limit.
#[derive(Debug)]
pub struct FrameBudget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

/// A frame that counts for as long as anyone holds it or a part of it.
struct Counted {
    frame: Bytes,
    budget: Arc<FrameBudget>,
}

impl FrameBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Whether no more frames may be made for single sessions now. Frames in progress come on top:
    /// one answer of each shard.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.bytes() >= self.bytes_max
    }

    /// Bytes of the frames that are held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The same frame, which counts until its last copy is dropped: copies share its bytes.
    #[must_use]
    pub fn count(self: &Arc<Self>, frame: Bytes) -> Bytes {
        self.bytes.fetch_add(frame.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted {
            frame,
            budget: Arc::clone(self),
        })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget
            .bytes
            .fetch_sub(self.frame.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_once_until_the_last_part_of_it_is_gone() {
        let budget = Arc::new(FrameBudget::new(10));
        let frame = budget.count(Bytes::from_static(b"0123456789"));
        assert!(budget.is_spent());
        let rest = frame.slice(9..);
        drop((frame.clone(), frame));
        assert_eq!((&*rest, budget.bytes()), (&b"9"[..], 10));
        drop(rest);
        assert_eq!(budget.bytes(), 0);
    }
}
