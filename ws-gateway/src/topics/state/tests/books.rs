//! How many books a slot holds, and what its sessions share.

use market_core::wire::{BookMessage, JsonMessage, Stamp};
use market_core::{BookTop, PriceLevel};

use super::*;

const CHANGES: Filter = Filter {
    book: BookForm {
        depth: Some(5),
        changes: true,
    },
    ..NONE
};

fn book(seq: u64) -> Bytes {
    let level = |price: u64| {
        let level = PriceLevel::parse(&price.to_string(), "1").expect("numbers");
        level.expect("a level")
    };
    let book = BookTop {
        update_id: None,
        bids: (1..=20).rev().map(level).collect(),
        asks: (100 + seq..120).map(level).collect(),
        event_ms: None,
        received_us: 1,
    };
    let stamp = Stamp {
        seq,
        epoch: 1,
        published_us: 1,
    };
    let symbol = "A-B".parse().expect("a symbol");
    BookMessage::new("binance", &symbol, Ok(&book), stamp).encode()
}

fn slot(books: u64) -> Slot {
    let mut slot = Slot::new();
    slot.depth.earlier_books = 2;
    for seq in 1..=books {
        slot.version += 1;
        let position = StreamPosition { epoch: 1, seq };
        let keep = slot.keep();
        let offered = slot
            .state
            .offer_book(position, book(seq), slot.version, keep);
        assert!(matches!(offered, Offered::New { .. }));
    }
    slot
}

#[test]
fn a_slot_holds_no_more_books_than_its_bound_and_takes_no_older_one() {
    let mut slot = slot(9);
    let TopicState::Books(books) = &slot.state else {
        panic!("{:?}", slot.state);
    };
    assert_eq!(books.len(), 3);
    let keep = slot.keep();
    let mut offer = |seq: u64| {
        let position = StreamPosition { epoch: 1, seq };
        slot.state.offer_book(position, book(seq), 10, keep)
    };
    assert_eq!((offer(8), offer(9)), (Offered::Stale, Offered::Duplicate));
}

#[test]
fn sessions_at_one_place_and_depth_share_the_bytes_of_a_book() {
    let slot = slot(9);
    let newest = slot.state.newest();
    let of = |seen: u64, filter: Filter| {
        let delta = delta(&slot.state, newest.as_ref(), seen, 9, filter);
        assert_eq!(delta.updates.len(), 1);
        delta.updates[0].json().clone()
    };
    let whole = Filter {
        book: BookForm {
            changes: false,
            ..CHANGES.book
        },
        ..NONE
    };
    // The bounds of the slot: it has the books 7 to 9.
    for (seen, filter) in [(8, CHANGES), (7, CHANGES), (8, whole)] {
        let (one, other) = (of(seen, filter), of(seen, filter));
        assert_eq!(one.as_ptr(), other.as_ptr(), "made once");
    }
    let text = |json: Bytes| String::from_utf8(json.to_vec()).expect("UTF-8");
    assert!(text(of(8, CHANGES)).contains(r#""prev_seq":8"#));
    assert!(text(of(7, CHANGES)).contains(r#""prev_seq":7"#));
    // Before them, and for who wants whole books, the whole book; one for both.
    assert_eq!(of(6, CHANGES).as_ptr(), of(8, whole).as_ptr());
    assert!(!text(of(8, whole)).contains("prev_seq"));
    assert_eq!(text(of(8, NONE)), text(book(9)), "as it came");
}

#[test]
fn a_book_with_other_texts_than_ours_has_no_other_forms() {
    // The checksum of a client would differ, which has the texts of the whole book.
    let mut slot = slot(1);
    for seq in 2..=3 {
        slot.version += 1;
        let position = StreamPosition { epoch: 1, seq };
        let text = String::from_utf8(book(seq).to_vec()).expect("UTF-8");
        let json = Bytes::from(text.replace(r#"["119","1"]"#, r#"["119","1.0"]"#));
        let keep = slot.keep();
        let offered = slot
            .state
            .offer_book(position, json.clone(), slot.version, keep);
        assert!(matches!(offered, Offered::New { .. }));
        let newest = slot.state.newest();
        let delta = delta(&slot.state, newest.as_ref(), seq - 1, seq, CHANGES);
        assert_eq!(delta.updates, [Payload::from(json)]);
    }
}
