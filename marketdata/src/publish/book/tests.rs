use std::collections::BTreeMap;

use market_core::{AggressorSide, BarState, Fold, Price, Quality, Quantity, Timeframe, Trade};
use proptest::prelude::*;

use super::*;

mod late;

fn bar(second: i64, rev: u32, count: u64, quality: Quality) -> Bar {
    let trade = |id| Trade {
        first_id: id,
        last_id: id,
        event_ms: second * 1_000,
        price: Price::parse("5").expect("price"),
        quantity: Quantity::parse("2").expect("quantity"),
        aggressor_side: AggressorSide::Sell,
        received_us: 0,
    };
    let mut trades = (1..=count).map(|id| Fold::of(&trade(id)));
    let first = trades.next();
    let fold = first.map(|first| {
        trades.fold(first, |mut fold, next| {
            fold.merge(&next);
            fold
        })
    });
    Bar {
        timeframe: Timeframe::SECOND,
        start_ms: second * 1_000,
        end_ms: (second + 1) * 1_000,
        fold,
        previous_close: Price::parse("5").ok(),
        state: BarState::Closed,
        rev,
        quality,
    }
}

const NOW: UnixMillis = 1_000_000;

fn head(second: i64, epoch: u64, rev: u32, count: u64, quality: Quality) -> RecordHead {
    RecordHead {
        epoch,
        start_ms: second * 1_000,
        rev,
        count,
        quality,
    }
}

#[test]
fn only_a_better_bar_revises_what_another_program_has_published() {
    use Judgement::{Leave, Publish, Published};
    use Quality::{Backfilled, Complete, Filled, Gap, Partial};
    for (theirs, ours, expected) in [
        ((0, 5, Complete), (5, Complete), Published(0)),
        ((0, 5, Complete), (5, Backfilled), Published(0)),
        ((0, 5, Complete), (6, Complete), Publish(1)),
        ((2, 5, Complete), (6, Complete), Publish(3)),
        ((0, 5, Complete), (4, Complete), Leave),
        ((0, 5, Complete), (5, Gap), Leave),
        ((0, 5, Complete), (9, Partial), Leave),
        ((1, 5, Gap), (5, Backfilled), Publish(2)),
        ((0, 5, Partial), (7, Gap), Publish(1)),
        ((0, 0, Gap), (0, Filled), Publish(1)),
        ((0, 0, Filled), (3, Complete), Publish(1)),
    ] {
        let mut book = Book::default();
        book.follow(&head(0, 9, 0, 1, Complete), NOW);
        book.follow(&head(1, 9, theirs.0, theirs.1, theirs.2), NOW);
        let ours = bar(1, 0, ours.0, ours.1);
        for is_new in [true, false] {
            assert_eq!(book.judge(&ours, is_new), expected, "{theirs:?} {ours:?}");
        }
    }
    // One that nobody has published.
    let mut book = Book::default();
    book.follow(&head(1, 9, 0, 5, Complete), NOW);
    let next = bar(2, 3, 1, Gap);
    assert_eq!(book.judge(&next, false), Publish(0));
}

#[test]
fn a_bar_of_ours_follows_its_pipeline_also_to_the_worse() {
    let mut book = Book::default();
    let whole = bar(1, 0, 5, Quality::Complete);
    assert_eq!(book.judge(&whole, true), Judgement::Publish(0));
    book.publish(whole.start_ms, Content::of(&whole), 7);
    let worse = bar(1, 1, 5, Quality::Gap);
    assert_eq!(book.judge(&worse, true), Judgement::Publish(1));
    // But what was given out before is no news.
    assert_eq!(book.judge(&worse, false), Judgement::Leave);
}

#[test]
fn a_bar_that_the_bus_refused_is_published_under_the_same_revision_later() {
    let mut book = Book::default();
    book.follow(&head(0, 1, 0, 1, Quality::Complete), NOW);
    for rev in 0..2 {
        let ours = bar(1, rev, u64::from(rev) + 1, Quality::Complete);
        assert_eq!(book.judge(&ours, true), Judgement::Publish(rev));
        let content = Content::of(&ours);
        book.publish(ours.start_ms, content, 7);
        book.refused(ours.start_ms, rev + 1, 7);
        assert_eq!(
            book.judge(&ours, false),
            Judgement::Published(rev),
            "another one"
        );
        book.refused(ours.start_ms, rev, 7);
        assert_eq!(book.judge(&ours, false), Judgement::Publish(rev));
        book.publish(ours.start_ms, content, 7);
    }
}

#[test]
fn a_bar_of_a_publisher_whose_lease_was_taken_counts_as_not_published() {
    let mut book = Book::default();
    book.follow(&head(1, 9, 0, 5, Quality::Complete), NOW);
    book.follow(&head(2, 8, 0, 5, Quality::Filled), NOW);
    let ours = bar(2, 0, 5, Quality::Complete);
    assert_eq!(book.judge(&ours, true), Judgement::Publish(0));
    // What the bus keeps is published, by any program.
    book.seed(&head(2, 8, 0, 5, Quality::Complete));
    assert_eq!(book.judge(&ours, true), Judgement::Published(0));
    book.seed(&head(2, 7, 4, 1, Quality::Complete));
    assert_eq!(book.judge(&ours, true), Judgement::Published(0));
}

#[test]
fn bars_of_ours_wait_until_somebody_has_published_them_and_no_longer() {
    let mut book = Book::default();
    for second in 0..100 {
        assert!(!book.keep(&bar(second, 0, 1, Quality::Complete)));
    }
    assert_eq!(book.own().count(), 100, "nobody has published them");
    for second in 0..100 {
        book.follow(&head(second, 1, 0, 1, Quality::Complete), NOW);
    }
    assert!(!book.keep(&bar(100, 0, 1, Quality::Complete)));
    assert_eq!(book.own().count(), 31, "of 30 s, and the newest");
    let mut dropped = 0;
    for second in 101..2_000 {
        dropped += usize::from(book.keep(&bar(second, 0, 1, Quality::Complete)));
    }
    assert_eq!(book.own().count(), OWN_MAX);
    assert_eq!(dropped, 2_000 - 100 - OWN_MAX);
    assert!(book.recent.len() <= RECENT_MAX);
}

#[test]
fn a_record_whose_numbers_cannot_be_true_is_none() {
    const NOW: i64 = 1_700_000_000_000;
    let read = |start_ms: &str, epoch: &str, count: &str| {
        let json = format!(
            r#"{{"epoch":{epoch},"start_ms":{start_ms},"rev":0,"count":{count},"quality":"complete"}}"#
        );
        RecordHead::read(json.as_bytes(), NOW)
    };
    assert!(read("1700000000000", "1700000000000", "3").is_some());
    assert!(read("1700000000000", "1", "0").is_some());
    for (start_ms, epoch, count) in [
        ("9223372036854775807", "1", "3"),
        ("-1", "1", "3"),
        ("1700000000000", "18446744073709551615", "3"),
        ("1700000000000", "1700090000000", "3"),
        ("1700000000000", "1", "-3"),
        ("1e99", "1", "3"),
    ] {
        assert_eq!(
            read(start_ms, epoch, count),
            None,
            "{start_ms} {epoch} {count}"
        );
    }
    assert_eq!(RecordHead::read(b"{}", NOW), None);
}

/// Reads as many records as make it sure that one of them is of a new bar.
fn read_anew(book: &mut Book, record: &[RecordHead]) {
    book.begin_anew();
    for head in &record[record.len().saturating_sub(64)..] {
        book.seed(head);
    }
}

#[test]
fn a_book_that_missed_records_publishes_none_of_their_bars_again() {
    let mut book = Book::default();
    let heads: Vec<RecordHead> = (0..100)
        .map(|second| head(second, 1, 0, 1, Quality::Complete))
        .collect();
    for (second, head) in (0..).zip(&heads) {
        assert!(!book.keep(&bar(second, 0, 1, Quality::Complete)));
        if second < 10 {
            book.follow(head, NOW);
        }
    }
    // The newest ones of the record, among them a late revision of an old bar.
    book.begin_anew();
    book.seed(&head(5, 1, 1, 2, Quality::Complete));
    for head in &heads[68..99] {
        book.seed(head);
    }
    let owed: Vec<Bar> = book.own().copied().collect();
    assert_eq!(
        owed.len(),
        91,
        "nothing told that these are published, or that the last one heard is stored"
    );
    let published = |bar: &&Bar| matches!(book.judge(bar, false), Judgement::Publish(_));
    let again: Vec<i64> = owed
        .iter()
        .filter(published)
        .map(|bar| bar.start_ms)
        .collect();
    assert_eq!(again, [99_000], "only what is in no record");
    // What is kept because nobody has published it goes now.
    assert!(!book.keep(&bar(100, 0, 1, Quality::Complete)));
    assert_eq!(book.own().count(), 31);
}

#[test]
fn a_late_revision_that_the_stream_never_stored_is_published_at_the_takeover() {
    // Old enough to be forgotten, and not.
    for second in [1, 150] {
        let mut book = Book::default();
        for second in 0..200 {
            assert!(!book.keep(&bar(second, 0, 1, Quality::Complete)));
            book.follow(&head(second, 1, 0, 1, Quality::Complete), NOW);
        }
        let newest = head(199, 1, 0, 1, Quality::Complete);
        // Both make the revision; the holder dies while it stores its own.
        let revised = bar(second, 1, 2, Quality::Complete);
        assert!(!book.keep(&revised));
        assert!(!book.keep(&bar(200, 0, 1, Quality::Complete)));
        book.follow(&head(second, 1, 1, 2, Quality::Complete), NOW);
        assert!(book.settle(Some(&newest), 1));
        let kept = book.own().find(|own| own.start_ms == second * 1_000);
        assert_eq!(kept, Some(&revised), "it is kept for its own 30 s");
        assert_eq!(book.judge(&revised, false), Judgement::Publish(1));
        book.publish(second * 1_000, Content::of(&revised), 2);
        assert_ne!(book.judge(&revised, false), Judgement::Publish(1), "once");
    }
}

#[test]
fn who_read_all_records_since_a_position_takes_back_only_what_was_heard_after_it() {
    let mut book = Book::default();
    for (at_ms, second) in [(10, 1), (20, 2), (30, 3), (40, 4)] {
        assert!(!book.keep(&bar(second, 0, 5, Quality::Complete)));
        book.follow(&head(second, 1, 0, 5, Quality::Complete), at_ms);
    }
    // Of what came after 25 ms the stream has the third bar, and one that was not heard.
    let stored = [
        head(3, 1, 0, 5, Quality::Complete),
        head(1, 1, 1, 6, Quality::Complete),
    ];
    assert!(book.settle_since(&stored, 25, 1));
    let judged = |second, count| book.judge(&bar(second, 0, count, Quality::Complete), false);
    assert_eq!(judged(1, 5), Judgement::Leave, "a better one is published");
    assert_eq!(judged(2, 5), Judgement::Published(0), "stored before");
    assert_eq!(judged(3, 5), Judgement::Published(0));
    assert_eq!(judged(4, 5), Judgement::Publish(0), "in no record");
}

proptest! {
    /// Two programs make the same bars, publish in turns, and follow each other: each bar is
    /// published once under each revision, the revisions rise by one, and no bar is left out. A
    /// standby may miss records: it reads the newest ones before it takes over.
    #[test]
    fn two_publishers_in_turns_leave_nothing_out_and_say_nothing_twice(
        steps in proptest::collection::vec((0u8..6, 0i64..6, 0u64..3), 1..400),
    ) {
        let mut books = [Book::default(), Book::default()];
        let (mut holder, mut epoch, mut newest) = (0, 1, 0);
        let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
        let mut published: BTreeMap<i64, Vec<(u32, u64)>> = BTreeMap::new();
        let mut record: Vec<RecordHead> = Vec::new();
        let mut is_deaf = false;
        let mut offer = |books: &mut [Book; 2], record: &mut Vec<RecordHead>, is_deaf: bool, holder: usize, epoch, bar: Bar, is_new| {
            if let Judgement::Publish(rev) = books[holder].judge(&bar, is_new) {
                let content = Content { rev, ..Content::of(&bar) };
                books[holder].publish(bar.start_ms, content, epoch);
                let said = RecordHead {
                    epoch, start_ms: bar.start_ms, rev, count: content.count, quality: bar.quality,
                };
                record.push(said);
                if !is_deaf {
                    books[1 - holder].follow(&said, NOW);
                }
                published.entry(bar.start_ms).or_default().push((rev, content.count));
            }
        };
        for (what, back, more) in steps {
            match what {
                // The next bar closes, or an older one is revised, in both.
                0 | 1 => {
                    let second = if what == 0 { newest += 1; newest } else { (newest - back).max(1) };
                    let Some(count) = (match counts.get(&second) {
                        None if what == 0 => Some(more),
                        Some(before) if what == 1 => Some(before + more + 1),
                        _ => None,
                    }) else { continue };
                    let rev = u32::from(counts.insert(second, count).is_some());
                    let bar = bar(second, rev, count, Quality::Complete);
                    for book in &mut books {
                        prop_assert!(!book.keep(&bar));
                    }
                    offer(&mut books, &mut record, is_deaf, holder, epoch, bar, true);
                }
                // The standby loses records.
                3 => is_deaf = true,
                // It knows of it, and reads what the bus keeps.
                4 => {
                    read_anew(&mut books[1 - holder], &record);
                    is_deaf = false;
                }
                // The other one takes over.
                2 => {
                    if std::mem::take(&mut is_deaf) {
                        read_anew(&mut books[1 - holder], &record);
                    }
                    (holder, epoch) = (1 - holder, epoch + 1);
                    let owed: Vec<Bar> = books[holder].own().copied().collect();
                    for bar in owed {
                        offer(&mut books, &mut record, is_deaf, holder, epoch, bar, false);
                    }
                }
                // It starts again, and reads what the bus keeps.
                _ => {
                    let own: Vec<Bar> = books[holder].own().copied().collect();
                    let heads: Vec<Published> = books[holder].recent.iter().copied().collect();
                    books[holder] = Book::default();
                    for head in heads {
                        books[holder].seed(&RecordHead {
                            epoch: head.epoch, start_ms: head.start_ms, rev: head.content.rev,
                            count: head.content.count, quality: Quality::Complete,
                        });
                    }
                    epoch += 1;
                    // Its checkpoint is not older than what the bus keeps.
                    let own = own.into_iter().filter(|bar| !books[holder].is_forgotten(bar.start_ms));
                    for bar in own.collect::<Vec<_>>() {
                        prop_assert!(!books[holder].keep(&bar));
                        offer(&mut books, &mut record, is_deaf, holder, epoch, bar, true);
                    }
                }
            }
        }
        for (second, count) in &counts {
            let said = published.get(&(second * 1_000)).cloned().unwrap_or_default();
            prop_assert_eq!(said.last().map(|last| last.1), Some(*count), "second {}", second);
            for (rev, said) in said.iter().enumerate() {
                prop_assert_eq!(said.0 as usize, rev);
            }
        }
    }
}

#[test]
fn what_was_heard_before_a_loss_is_not_published_again_after_a_newest_message_that_was_not() {
    use Quality::{Complete, Partial};
    // The holder of this number publishes seconds 1 to 9. The standby joined within the first one, and
    // hears nothing from the sixth on. The position that it knows is that of the third one.
    let theirs: Vec<RecordHead> = (1..=9)
        .map(|second| head(second, 9, 0, 5, Complete))
        .collect();
    for is_read_first in [true, false] {
        let mut book = Book::default();
        for (head, now) in theirs[..5].iter().zip(NOW..) {
            book.follow(head, now);
        }
        if is_read_first {
            book.catch_up(&theirs[3..], NOW + 3);
        }
        let is_known = book.settle(theirs.last(), 9);
        assert_eq!(
            is_known, is_read_first,
            "otherwise everything is read again"
        );
        assert_eq!(book.judge(&bar(1, 0, 2, Partial), false), Judgement::Leave);
        let same = bar(5, 0, 5, Complete);
        assert_eq!(book.judge(&same, false), Judgement::Published(0));
        assert_eq!(
            book.judge(&bar(10, 0, 5, Complete), false),
            Judgement::Publish(0)
        );
    }
    // The newest message is a revision, which says nothing of what came before it: what was read does.
    let mut book = Book::default();
    for (head, now) in theirs[..5].iter().zip(NOW..) {
        book.follow(head, now);
    }
    let revised = head(2, 9, 1, 6, Complete);
    let since = [&theirs[3..], &[revised]].concat();
    book.catch_up(&since, NOW + 3);
    assert!(book.settle(Some(&revised), 9));
    for second in 1..=9 {
        let ours = bar(second, 0, 2, Partial);
        assert_eq!(book.judge(&ours, false), Judgement::Leave, "{second}");
    }
}

#[test]
fn what_was_heard_and_is_not_in_what_was_read_after_a_loss_is_published_at_the_takeover() {
    let complete = Quality::Complete;
    let theirs: Vec<RecordHead> = (1..=5)
        .map(|second| head(second, 9, 0, 5, complete))
        .collect();
    let mut book = Book::default();
    for (head, now) in theirs.iter().zip(NOW..) {
        book.follow(head, now);
    }
    // The fifth one was heard, and never stored.
    book.catch_up(&theirs[2..4], NOW + 2);
    assert!(book.settle(Some(&theirs[3]), 9));
    let ours = |second| bar(second, 0, 5, complete);
    assert_eq!(book.judge(&ours(4), false), Judgement::Published(0));
    assert_eq!(book.judge(&ours(5), false), Judgement::Publish(0));
}
