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
    /// Most levels of the updates that wait for a snapshot; the oldest updates are dropped.
    pub waiting_levels_max: usize,
}

/// After so many snapshots in a row that are older than the updates, the numbers of these updates
/// are not believed any more.
const TOO_OLD_MAX: u32 = 3;
/// After so many repeated updates in a row, the stream is not that of the book: its numbers have
/// fallen, or the snapshot was far ahead of it. These are five seconds of Binance's stream.
const REPEATED_MAX: u32 = 50;

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
    /// The levels of the updates that wait.
    waiting_levels: usize,
    /// The highest number of the updates that came and do not wait any more. A snapshot before it
    /// lacks changes that nothing brings back.
    seen: Option<u64>,
    /// Snapshots in a row that were too old.
    too_old: u32,
    /// Updates in a row that were repeated.
    repeated: u32,
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
    /// Its numbers are below those of the book, but it was sent later.
    Fallen,
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
            waiting_levels: 0,
            seen: None,
            too_old: 0,
            repeated: 0,
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

    /// The levels that are kept: those of the book, and those of the updates that wait.
    #[must_use]
    pub fn levels(&self) -> usize {
        self.bids.len() + self.asks.len() + self.waiting_levels
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

    /// There is no book from now on, and no update waits: the stream has ended, or one of its
    /// updates cannot be read. The next snapshot must have all updates that came before.
    pub fn lose(&mut self) {
        self.forget();
        while self.drop_oldest() {}
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
            Step::Repeated => {
                self.repeated += 1;
                match self.repeated > REPEATED_MAX {
                    true => self.numbers_fell(update),
                    false => Applied::Repeated,
                }
            }
            Step::Fallen => self.numbers_fell(update),
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
            let starts_before = self
                .first_waiting()
                .is_some_and(|first| first > number.saturating_add(1));
            if starts_before || self.seen.is_some_and(|seen| number < seen) {
                self.too_old += 1;
                if self.too_old >= TOO_OLD_MAX {
                    self.begin_anew();
                }
                return Applied::TooOld;
            }
        } else if self.last.is_some_and(|last| is_before(update, &last)) {
            // A stream does not go back: this is a repetition, and what is right is not known.
            self.forget();
            return Applied::Invalid(BookFault::Hole);
        }
        self.too_old = 0;
        self.repeated = 0;
        self.bids.replace(&update.bids, update.cut_after);
        self.asks.replace(&update.asks, update.cut_after);
        if let Err(fault) = self.check(update) {
            return Applied::Invalid(fault);
        }
        while let Some(waiting) = self.waiting.front() {
            let Some(last) = self.last else { break };
            let step = step(&last, waiting);
            if matches!(step, Step::Hole | Step::Fallen) {
                self.forget();
                return Applied::Invalid(BookFault::Hole);
            }
            let Some(waiting) = self.take_oldest() else {
                break;
            };
            if let Step::Next = step
                && let Err(fault) = self.change(&waiting)
            {
                return Applied::Invalid(fault);
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
            // A snapshot that was asked for may have changes that are still on their way here.
            let is_asked_for =
                update.is_snapshot && matches!(update.numbers, UpdateNumbers::Range { .. });
            let last = self.last.filter(|_| !is_asked_for);
            let before = last.and_then(|last| last.event_ms);
            self.last = Some(Place {
                numbers: update.numbers,
                event_ms: update.event_ms.or(before),
                received_us: update.received_us,
            });
            self.repeated = 0;
            return Ok(());
        };
        self.saw(update.numbers);
        self.forget();
        Err(fault)
    }

    /// There is no book any more. The next snapshot must not be from before it.
    fn forget(&mut self) {
        if let Some(last) = self.last.take() {
            self.saw(last.numbers);
        }
        self.repeated = 0;
        self.bids.clear();
        self.asks.clear();
    }

    fn saw(&mut self, numbers: UpdateNumbers) {
        if let UpdateNumbers::Range { last, .. } = numbers {
            self.seen = self.seen.max(Some(last));
        }
    }

    /// The numbers of the stream are below those of the book.
    fn numbers_fell(&mut self, update: BookUpdate) -> Applied {
        self.forget();
        self.begin_anew();
        self.wait(update);
        Applied::Invalid(BookFault::Hole)
    }

    /// Forgets the numbers that came before: no snapshot reaches them.
    fn begin_anew(&mut self) {
        while self.drop_oldest() {}
        self.seen = None;
        self.too_old = 0;
    }

    fn wait(&mut self, update: BookUpdate) {
        // Only a snapshot that is asked for can be older than an update.
        if !matches!(update.numbers, UpdateNumbers::Range { .. }) {
            return;
        }
        self.waiting_levels += update.levels();
        self.waiting.push_back(update);
        while self.waiting.len() > self.limits.waiting_max
            || self.waiting_levels > self.limits.waiting_levels_max
        {
            if !self.drop_oldest() {
                break;
            }
            self.dropped += 1;
        }
    }

    fn take_oldest(&mut self) -> Option<BookUpdate> {
        let oldest = self.waiting.pop_front()?;
        self.waiting_levels -= oldest.levels();
        Some(oldest)
    }

    /// Drops the oldest update that waits, if there is one.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.take_oldest() else {
            return false;
        };
        self.saw(oldest.numbers);
        true
    }
}

/// Whether a snapshot of a stream is older than the book, by the venue's times.
fn is_before(snapshot: &BookUpdate, last: &Place) -> bool {
    let times = snapshot.event_ms.zip(last.event_ms);
    times.is_some_and(|(event_ms, last_ms)| event_ms < last_ms)
}

/// How an update continues a book whose last update is at a place.
fn step(place: &Place, update: &BookUpdate) -> Step {
    match (place.numbers, update.numbers) {
        (
            UpdateNumbers::Range { last, .. },
            UpdateNumbers::Range {
                first,
                last: newest,
            },
        ) => {
            if newest <= last {
                let times = place.event_ms.zip(update.event_ms);
                match times.is_some_and(|(last_ms, event_ms)| event_ms > last_ms) {
                    true => Step::Fallen,
                    false => Step::Repeated,
                }
            } else if first <= last.saturating_add(1) {
                Step::Next
            } else {
                Step::Hole
            }
        }
        (UpdateNumbers::Chain { number, .. }, UpdateNumbers::Chain { previous, .. }) => {
            if previous == Some(number) {
                Step::Next
            } else if place.numbers == update.numbers {
                // Numbers may fall, so a lower one alone does not say that it is a repetition.
                Step::Repeated
            } else {
                Step::Hole
            }
        }
        (UpdateNumbers::None, UpdateNumbers::None) => match (place.event_ms, update.event_ms) {
            (Some(last_ms), Some(event_ms)) if event_ms < last_ms => Step::Hole,
            _ => Step::Next,
        },
        // A venue does not change the way in which it counts.
        _ => Step::Hole,
    }
}
