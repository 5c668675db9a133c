//! Changes of books as the events of a stream, from which a client keeps a book of its own.
//!
//! A client takes a snapshot of REST and applies the events after it. Its book is the book that was
//! published: the published levels, and no others. Levels that are no longer among them are events
//! of quantity 0, and while there is no book, the client's book is empty. So a client never has a
//! level that nobody vouches for.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::symbol::symbol_name;
use crate::book::{BookLevels, LevelChange};
use crate::quote::PriceLevel;
use crate::value::clock::UnixMicros;
use crate::value::symbol::Symbol;
use crate::wire::{BookMessage, BookState, JsonMessage, SILENT};

/// The number of a published book (`lastUpdateId`, `u`), the same in all streams, gateways and
/// answers of REST. It rises with each publication, also when a publisher takes over: `epoch` is a
/// time in milliseconds, and a book is published less often than every two milliseconds.
///
/// What a reader says of a silent publisher has the place of the next publication. So it has a number
/// of its own, between two publications.
#[must_use]
pub fn book_number(epoch: u64, seq: u64, is_silent: bool) -> u64 {
    let place = seq.saturating_mul(2).saturating_sub(u64::from(is_silent));
    epoch.saturating_add(place)
}

/// The quantity of a level that is gone, as Binance writes it: python-binance compares the text.
const GONE: &str = "0.00000000";

/// A published book, or that there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DepthBook {
    name: String,
    epoch: u64,
    number: u64,
    /// Empty if there is no book.
    levels: BookLevels,
    published_us: UnixMicros,
}

impl DepthBook {
    /// Reads an encoded book; `None` if the payload is not a book, or if its symbol has no name.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let message = BookMessage::read(payload)?;
        let symbol: Symbol = message.symbol.parse().ok()?;
        let is_silent = message.reason.as_deref() == Some(SILENT);
        let levels = match message.state {
            BookState::Valid => message.levels()?,
            BookState::Invalid => BookLevels::default(),
        };
        Some(Self {
            name: symbol_name(&symbol)?,
            epoch: message.epoch,
            number: book_number(message.epoch, message.seq, is_silent),
            levels,
            published_us: message.published_us,
        })
    }

    /// Its place among the books of its topic: the publisher's epoch, and its number.
    #[must_use]
    pub fn place(&self) -> (u64, u64) {
        (self.epoch, self.number)
    }

    /// Whether nothing was published between another book and this one. Of two publishers, nobody
    /// knows.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        self.epoch == before.epoch && (1..=2).contains(&self.number.saturating_sub(before.number))
    }

    /// The event that leads to this book from each of the books before it, the oldest first. Each one
    /// [follows](Self::follows) the one before:
    /// `{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[]}`.
    ///
    /// A client may have a snapshot of any of them. So the event has each level that differs in any
    /// of them, and not only what has changed since the oldest. Without any, it has the whole book, and its
    /// number shows clients that events before it are missing.
    #[must_use]
    pub fn event_since<'a>(&self, before: impl Iterator<Item = &'a Self> + Clone) -> String {
        let oldest = before.clone().next();
        let nothing = BookLevels::default();
        let first = oldest.map_or(self.number, |oldest| oldest.number.saturating_add(1));
        let (mut bids, mut asks) = (BTreeMap::new(), BTreeMap::new());
        let levels = before.map(|book| &book.levels);
        for levels in levels.chain(oldest.is_none().then_some(&nothing)) {
            let changes = self.levels.changes_since(levels, None);
            bids.extend(
                changes
                    .bids
                    .into_iter()
                    .map(|change| (change.price, change)),
            );
            asks.extend(
                changes
                    .asks
                    .into_iter()
                    .map(|change| (change.price, change)),
            );
        }
        let bids: Vec<LevelChange> = bids.into_values().rev().collect();
        let asks: Vec<LevelChange> = asks.into_values().collect();
        self.event(first, &bids, &asks)
    }

    /// The event of its best levels, at most so many of each side: [`PartialDepth::event_of`] of the
    /// same book.
    ///
    /// [`PartialDepth::event_of`]: super::PartialDepth::event_of
    #[must_use]
    pub fn levels_event(&self, levels_max: usize) -> String {
        let side = |levels: &[PriceLevel]| {
            let level = |level: &PriceLevel| format!(r#"["{}","{}"]"#, level.price, level.quantity);
            let levels: Vec<String> = levels.iter().take(levels_max).map(level).collect();
            levels.join(",")
        };
        format!(
            r#"{{"lastUpdateId":{},"bids":[{}],"asks":[{}]}}"#,
            self.number,
            side(&self.levels.bids),
            side(&self.levels.asks)
        )
    }

    /// The bytes of memory that it has.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let levels = self.levels.bids.capacity() + self.levels.asks.capacity();
        size_of::<Self>() + self.name.capacity() + levels * size_of::<PriceLevel>()
    }

    fn event(&self, first: u64, bids: &[LevelChange], asks: &[LevelChange]) -> String {
        let mut json = format!(
            r#"{{"e":"depthUpdate","E":{},"s":"{}","U":{first},"u":{},"b":["#,
            self.published_us.div_euclid(1_000),
            self.name,
            self.number,
        );
        put_levels(&mut json, bids);
        json.push_str(r#"],"a":["#);
        put_levels(&mut json, asks);
        json.push_str("]}");
        json
    }
}

fn put_levels(json: &mut String, levels: &[LevelChange]) {
    for (at, level) in levels.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // A text takes everything.
        let _ = match level.quantity {
            Some(quantity) => write!(json, r#"{comma}["{}","{quantity}"]"#, level.price),
            None => write!(json, r#"{comma}["{}","{GONE}"]"#, level.price),
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::book::{BookFault, BookTop};
    use crate::wire::Stamp;

    type Side = BTreeMap<u64, String>;

    fn message(epoch: u64, seq: u64, book: Option<&[Vec<u64>; 2]>) -> BookMessage {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let stamp = Stamp {
            seq,
            epoch,
            published_us: 1_723_161_254_088_000,
        };
        let level = |price: &u64| {
            let quantity = format!("{}", 1 + (price * 7 + seq) % 3);
            let level = PriceLevel::parse(&price.to_string(), &quantity).expect("numbers");
            level.expect("a level")
        };
        let top = book.map(|[bids, asks]| BookTop {
            update_id: Some(7),
            bids: bids.iter().rev().map(level).collect(),
            asks: asks.iter().map(level).collect(),
            event_ms: None,
            received_us: 1,
        });
        BookMessage::new("okx", &symbol, top.as_ref().ok_or(BookFault::Hole), stamp)
    }

    fn read(message: &BookMessage) -> DepthBook {
        DepthBook::read(&message.encode()).expect("a book")
    }

    /// A client's book, as Binance's documents say to keep one.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Kept {
        number: u64,
        sides: [Side; 2],
    }

    impl Kept {
        fn of(message: &BookMessage) -> Self {
            let side = |levels: &[(String, String)]| {
                let level = |(price, quantity): &(String, String)| {
                    (price.parse().expect("a number"), quantity.clone())
                };
                levels.iter().map(level).collect()
            };
            Self {
                number: read(message).number,
                sides: [side(&message.bids), side(&message.asks)],
            }
        }

        /// False if a number is missing.
        fn take(&mut self, event: &str) -> bool {
            let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
            let number = |name: &str| event[name].as_u64().expect("a number");
            if number("u") <= self.number {
                return true;
            }
            if number("U") > self.number + 1 {
                return false;
            }
            for (side, name) in self.sides.iter_mut().zip(["b", "a"]) {
                for level in event[name].as_array().expect("levels") {
                    let text = |at: usize| level[at].as_str().expect("a text");
                    let price = text(0).parse().expect("a number");
                    match text(1) {
                        GONE => side.remove(&price),
                        quantity => side.insert(price, quantity.to_owned()),
                    };
                }
            }
            self.number = number("u");
            true
        }
    }

    #[test]
    fn an_event_says_what_has_changed_between_two_numbers() {
        let before = read(&message(1_000, 4, Some(&[vec![8, 9], vec![10]])));
        let now = read(&message(1_000, 7, Some(&[vec![9], vec![10, 11]])));
        let event = now.event_since(std::iter::once(&before));
        let start =
            r#"{"e":"depthUpdate","E":1723161254088,"s":"OKX_BTCUSDT","U":1009,"u":1014,"b":["#;
        assert!(event.starts_with(start), "{event}");
        assert!(event.contains(r#"["8","0.00000000"]"#), "{event}");
        assert!(!now.follows(&before));
    }

    #[test]
    fn what_is_said_of_a_silent_publisher_has_a_number_of_its_own() {
        let last = message(1_000, 4, Some(&[vec![9], vec![10]]));
        let silent = read(&last.clone().silent());
        let next = read(&message(1_000, 5, Some(&[vec![9], vec![10]])));
        assert!(silent.follows(&read(&last)) && next.follows(&silent));
        assert!(next.follows(&read(&last)));
        // A client that took what was said takes the next book, too.
        let mut kept = Kept::of(&last);
        assert!(kept.take(&silent.event_since(std::iter::once(&read(&last)))));
        assert_eq!(kept.sides, [Side::new(), Side::new()]);
        assert!(kept.take(&next.event_since(std::iter::once(&silent))));
        assert_eq!(
            kept.sides,
            Kept::of(&message(1_000, 5, Some(&[vec![9], vec![10]]))).sides
        );
    }

    fn books() -> impl Strategy<Value = Vec<Option<[Vec<u64>; 2]>>> {
        let side = |from: u64| proptest::collection::btree_set(from..from + 8, 0..6);
        let book = (side(10), side(30))
            .prop_map(|(bids, asks)| [bids.into_iter().collect(), asks.into_iter().collect()]);
        proptest::collection::vec(proptest::option::weighted(0.8, book), 2..20)
    }

    proptest! {
        /// Whichever snapshot a client has, and at whatever pace it takes events, its book is the
        /// published one after each event.
        #[test]
        fn books_of_clients_of_binance_are_the_published_books_at_any_pace(
            books in books(),
            snapshot in any::<prop::sample::Index>(),
            restart in any::<prop::sample::Index>(),
            paces in proptest::collection::vec(1usize..4, 20),
        ) {
            let restart = restart.index(books.len());
            let messages: Vec<BookMessage> = books.iter().enumerate().map(|(at, book)| {
                // The next publisher counts from the start.
                let (epoch, seq) = if at < restart { (1_000, at) } else { (9_000, at - restart) };
                message(epoch, u64::try_from(seq).expect("few"), book.as_ref())
            }).collect();
            let depths: Vec<DepthBook> = messages.iter().map(read).collect();
            prop_assert!(depths.windows(2).all(|pair| pair[0].number < pair[1].number));
            // A gateway does not know what was published between two publishers.
            let since = |at: usize, next: usize| match at < restart && next >= restart {
                true => restart..next,
                false => at..next,
            };
            let mut at = paces[0].min(books.len() - 1);
            let from = if at >= restart { restart } else { 0 };
            let snapshot = from + snapshot.index(books.len() - from);
            let mut kept = Kept::of(&messages[snapshot]);
            let mut is_right = kept.take(&depths[at].event_since(depths[from..at].iter()));
            prop_assert!(is_right);
            for pace in &paces[1..] {
                let next = (at + pace).min(books.len() - 1);
                if next > at {
                    let before = depths[since(at, next)].iter();
                    is_right = kept.take(&depths[next].event_since(before));
                    prop_assert!(is_right || (at < restart && next >= restart));
                    at = next;
                }
                if !is_right {
                    // What every client does then.
                    kept = Kept::of(&messages[at]);
                }
                if depths[at].number >= kept.number {
                    prop_assert_eq!(&kept, &Kept::of(&messages[at]));
                }
            }
        }
    }
}
