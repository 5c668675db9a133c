//! Order-book changes decoded and applied a second, beside what that costs at least; and the bytes
//! of the same books, and of other publications, in each dialect.
//!
//! `cargo bench -p marketdata --bench books`. Frames are Binance's where `KLINECAST_CAPTURES` names
//! the captures; beside them are invented ones of the same form. An element is a change of a level.
//! The tables of bytes are printed before the timings.

mod bytes;
#[path = "../captured/mod.rs"]
mod captured;
mod tape;
mod values;

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use market_core::book::{Applied, LevelChange};
use market_core::{BookLimits, BookSync, BookUpdate, Price, Quantity};
use marketdata::exchange::BookEvent;
use serde::Deserialize;

use self::tape::Tape;

/// The limits of `marketdata`'s defaults, with a book that may be thin.
const LIMITS: BookLimits = BookLimits {
    levels_min: 0,
    levels_max: 100_000,
    waiting_max: 1_000,
    waiting_levels_max: 50_000,
};

/// The frame of a change, and nothing else: what serde has to do for it at least.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    data: Change<'a>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(rename = "E")]
    sent: i64,
    s: &'a str,
    #[serde(rename = "U")]
    first: u64,
    u: u64,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
}

/// The floor of decoding: the texts of the levels, which no number is made of.
fn parse(tape: &Tape) -> usize {
    let levels = |(_, frame): &(i64, String)| {
        let frame: Frame<'_> = serde_json::from_str(frame).expect("a change");
        let change = black_box(frame.data);
        black_box((change.sent, change.s, change.first, change.u));
        change.b.len() + change.a.len()
    };
    tape.frames.iter().map(levels).sum()
}

/// The floor of applying: two maps of the standard library, without numbers and limits.
fn apply_to_maps(snapshot: &BookUpdate, updates: &[BookUpdate]) -> usize {
    type Side = BTreeMap<Price, Quantity>;
    let put = |side: &mut Side, changes: &[LevelChange]| {
        for change in changes {
            match change.quantity {
                Some(quantity) => side.insert(change.price, quantity),
                None => side.remove(&change.price),
            };
        }
    };
    let (mut bids, mut asks) = (Side::new(), Side::new());
    for update in std::iter::once(snapshot).chain(updates) {
        put(&mut bids, &update.bids);
        put(&mut asks, &update.asks);
    }
    bids.len() + asks.len()
}

fn decode(tape: &Tape, mut take: impl FnMut(BookUpdate)) {
    for (received_us, frame) in &tape.frames {
        let decoded = tape
            .exchange
            .decode_books(frame, *received_us, &mut |event| {
                if let BookEvent::Update { update, .. } = event {
                    take(update);
                }
            });
        decoded.expect("a venue's frame");
    }
}

/// A book that has its snapshot.
fn book_of(snapshot: BookUpdate) -> BookSync {
    let mut book = BookSync::new(LIMITS);
    assert_eq!(book.apply(snapshot), Applied::Changed);
    book
}

/// What a connection for order books does with frames: a book that is right at each number.
fn whole(tape: &Tape) -> BookSync {
    let mut book = book_of(tape.snapshot.clone());
    decode(tape, |update| {
        let applied = book.apply(update);
        debug_assert!(!matches!(applied, Applied::Invalid(_)));
    });
    book
}

fn books(criterion: &mut Criterion) {
    let mut tapes = vec![tape::invented()];
    match tape::captured() {
        Some(tape) => tapes.insert(0, tape),
        None => println!("KLINECAST_CAPTURES is not set: skipping the captured frames"),
    }
    for tape in &tapes {
        bytes::print(tape);
    }
    values::print();
    for tape in &tapes {
        let mut updates = Vec::with_capacity(tape.frames.len());
        decode(tape, |update| updates.push(update));
        let changes: usize = updates.iter().map(BookUpdate::levels).sum();
        let book = whole(tape);
        assert!(book.is_valid(), "the frames have no hole");
        println!(
            "{}: {} frames, {changes} changes; {} levels at the end",
            tape.label,
            updates.len(),
            book.levels(),
        );
        let mut group = criterion.benchmark_group(format!("books/{}", tape.label));
        group
            .throughput(Throughput::Elements(changes as u64))
            .sample_size(20);
        group.bench_function("floor: serde", |bencher| {
            bencher.iter(|| parse(black_box(tape)))
        });
        group.bench_function("decode", |bencher| {
            bencher.iter(|| decode(black_box(tape), |update| drop(black_box(update))))
        });
        group.bench_function("floor: BTreeMap", |bencher| {
            bencher.iter(|| apply_to_maps(&tape.snapshot, black_box(&updates)))
        });
        group.bench_function("apply", |bencher| {
            let input = || (tape.snapshot.clone(), updates.clone());
            let apply = |(snapshot, updates): (BookUpdate, Vec<BookUpdate>)| {
                let mut book = book_of(snapshot);
                for update in updates {
                    book.apply(update);
                }
                book
            };
            bencher.iter_batched(input, apply, BatchSize::LargeInput)
        });
        group.bench_function("decode and apply", |bencher| {
            bencher.iter(|| whole(black_box(tape)))
        });
        group.finish();
    }
}

criterion_group!(benches, books);
criterion_main!(benches);
