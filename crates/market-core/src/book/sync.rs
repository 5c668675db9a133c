//! A book that is right or not there.

use std::collections::VecDeque;

use super::ladder::Ladder;
use super::update::{BookUpdate, UpdateNumbers};
use crate::quote::PriceLevel;
use crate::value::clock::{UnixMicros, UnixMillis};

/// The bounds of a book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookLimits {
    /// Levels of a side that have to be known, if the venue has as many.
    pub levels_min: usize,
    /// Most levels of a side. A deeper book is not kept: its first levels would be wrong once the
    /// price comes to the levels that were left out.
    pub levels_max: usize,
    /// Most updates that wait for a snapshot; the oldest are dropped.
    pub waiting_max: usize,
}

/// Why a book is no longer right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BookFault {
    /// An update is missing, by the venue's numbers or times.
    Hole,
    /// The best bid is not below the best ask.
    Crossed,
    /// A side has too many levels.
    TooDeep,
    /// The price has left the levels of a snapshot that the venue had cut.
    TooThin,
    /// The stream of its updates ended.
    Lost,
}

impl BookFault {
    /// The name in messages and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hole => "hole",
            Self::Crossed => "crossed",
            Self::TooDeep => "too_deep",
            Self::TooThin => "too_thin",
            Self::Lost => "lost",
        }
    }
}

/// What became of an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// The book has it.
    Changed,
    /// The book had it before.
    Repeated,
    /// There is no book, so it waits for a snapshot, or is part of the next one.
    Waiting,
    /// It is a snapshot from before the updates that wait: another one is needed.
    TooOld,
    /// The book was right until now, and another snapshot is needed.
    Invalid(BookFault),
}

/// The best levels of a book, to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookTop {
    /// The venue's number of this state, if it has one.
    pub update_id: Option<u64>,
    /// The highest bids, the best first.
    pub bids: Vec<PriceLevel>,
    /// The lowest asks, the best first.
    pub asks: Vec<PriceLevel>,
    /// When the venue sent the last update, if it says so.
    pub event_ms: Option<UnixMillis>,
    /// When the last update was received, by this host's clock.
    pub received_us: UnixMicros,
}

/// See the module. Updates go in, in the order of their arrival; a book that exists is the venue's
/// book at the number of its last update.
#[derive(Clone, Debug)]
pub struct BookSync {
    limits: BookLimits,
    /// The place of the last update; `None` if there is no book.
    last: Option<Place>,
    bids: Ladder,
    asks: Ladder,
    waiting: VecDeque<BookUpdate>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    numbers: UpdateNumbers,
    event_ms: Option<UnixMillis>,
    received_us: UnixMicros,
}

/// How an update continues a book.
enum Step {
    Next,
    Repeated,
    Hole,
}

impl BookSync {
    /// No book yet.
    #[must_use]
    pub fn new(limits: BookLimits) -> Self {
        Self {
            limits,
            last: None,
            bids: Ladder::bids(),
            asks: Ladder::asks(),
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Whether there is a book.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.last.is_some()
    }

    /// Whether updates wait for a snapshot.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The waiting updates that were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The first levels of each side, at most `depth`; `None` if there is no book.
    #[must_use]
    pub fn top(&self, depth: usize) -> Option<BookTop> {
        let last = self.last?;
        let update_id = match last.numbers {
            UpdateNumbers::Range { last, .. } => Some(last),
            UpdateNumbers::Chain { number, .. } => Some(number),
            UpdateNumbers::None => None,
        };
        Some(BookTop {
            update_id,
            bids: self.bids.best_first().take(depth).collect(),
            asks: self.asks.best_first().take(depth).collect(),
            event_ms: last.event_ms,
            received_us: last.received_us,
        })
    }

    /// There is no book from now on, and no update waits: the stream has ended.
    pub fn lose(&mut self) {
        self.forget();
        self.waiting.clear();
    }

    /// Takes an update.
    pub fn apply(&mut self, update: BookUpdate) -> Applied {
        if update.is_snapshot {
            return self.snapshot(&update);
        }
        let Some(last) = self.last else {
            self.wait(update);
            return Applied::Waiting;
        };
        match step(&last, &update) {
            Step::Repeated => Applied::Repeated,
            Step::Next => match self.change(&update) {
                Ok(()) => Applied::Changed,
                Err(fault) => Applied::Invalid(fault),
            },
            Step::Hole => {
                self.forget();
                // The next snapshot may be from before this update.
                self.wait(update);
                Applied::Invalid(BookFault::Hole)
            }
        }
    }

    fn snapshot(&mut self, update: &BookUpdate) -> Applied {
        if let UpdateNumbers::Range { last: number, .. } = update.numbers {
            // It was asked for, and may be from any time: an older one is nothing new.
            if let Some(Place {
                numbers: UpdateNumbers::Range { last, .. },
                ..
            }) = self.last
                && number <= last
            {
                return Applied::Repeated;
            }
            if let Some(first) = self.first_waiting()
                && first > number.saturating_add(1)
            {
                return Applied::TooOld;
            }
        } else {
            // It came in the stream, so it has all that came before it.
            self.waiting.clear();
        }
        self.bids.replace(&update.bids, update.cut_after);
        self.asks.replace(&update.asks, update.cut_after);
        if let Err(fault) = self.check(update) {
            return Applied::Invalid(fault);
        }
        while let Some(waiting) = self.waiting.pop_front() {
            let Some(last) = self.last else { break };
            match step(&last, &waiting) {
                Step::Repeated => {}
                Step::Next => {
                    if let Err(fault) = self.change(&waiting) {
                        return Applied::Invalid(fault);
                    }
                }
                Step::Hole => {
                    self.forget();
                    self.waiting.push_front(waiting);
                    return Applied::Invalid(BookFault::Hole);
                }
            }
        }
        Applied::Changed
    }

    /// The first number of the updates that wait.
    fn first_waiting(&self) -> Option<u64> {
        match self.waiting.front()?.numbers {
            UpdateNumbers::Range { first, .. } => Some(first),
            UpdateNumbers::Chain { .. } | UpdateNumbers::None => None,
        }
    }

    fn change(&mut self, update: &BookUpdate) -> Result<(), BookFault> {
        self.bids.apply(&update.bids);
        self.asks.apply(&update.asks);
        self.check(update)
    }

    /// The book is that of the update, if it can be right.
    fn check(&mut self, update: &BookUpdate) -> Result<(), BookFault> {
        let best = self.bids.best().zip(self.asks.best());
        let fault = if best.is_some_and(|(bid, ask)| bid.price >= ask.price) {
            BookFault::Crossed
        } else if self.bids.len().max(self.asks.len()) > self.limits.levels_max {
            BookFault::TooDeep
        } else if self.bids.lacks(self.limits.levels_min) || self.asks.lacks(self.limits.levels_min)
        {
            BookFault::TooThin
        } else {
            let before = self.last.and_then(|last| last.event_ms);
            self.last = Some(Place {
                numbers: update.numbers,
                event_ms: update.event_ms.or(before),
                received_us: update.received_us,
            });
            return Ok(());
        };
        self.forget();
        Err(fault)
    }

    fn forget(&mut self) {
        self.last = None;
        self.bids.clear();
        self.asks.clear();
    }

    fn wait(&mut self, update: BookUpdate) {
        // Only a snapshot that is asked for can be older than an update.
        if !matches!(update.numbers, UpdateNumbers::Range { .. }) {
            return;
        }
        self.waiting.push_back(update);
        if self.waiting.len() > self.limits.waiting_max {
            self.waiting.pop_front();
            self.dropped += 1;
        }
    }
}

/// How an update continues a book whose last update is at a place.
fn step(last: &Place, update: &BookUpdate) -> Step {
    match (last.numbers, update.numbers) {
        (
            UpdateNumbers::Range { last, .. },
            UpdateNumbers::Range {
                first,
                last: newest,
            },
        ) => {
            if newest <= last {
                Step::Repeated
            } else if first <= last.saturating_add(1) {
                Step::Next
            } else {
                Step::Hole
            }
        }
        (UpdateNumbers::Chain { number, .. }, UpdateNumbers::Chain { previous, .. }) => {
            if previous == Some(number) {
                Step::Next
            } else if last.numbers == update.numbers {
                // Numbers may fall, so a lower one alone does not say that it is a repetition.
                Step::Repeated
            } else {
                Step::Hole
            }
        }
        (UpdateNumbers::None, UpdateNumbers::None) => match (last.event_ms, update.event_ms) {
            (Some(last_ms), Some(event_ms)) if event_ms < last_ms => Step::Hole,
            _ => Step::Next,
        },
        // A venue does not change the way in which it counts.
        _ => Step::Hole,
    }
}
