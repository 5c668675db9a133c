//! A late trade makes a first publication of a bar that was silent, after newer bars.

use super::*;

fn first(second: i64) -> RecordHead {
    head(second, 9, 0, 5, Quality::Complete)
}

fn judged(book: &Book, second: i64) -> Judgement {
    book.judge(&bar(second, 0, 5, Quality::Complete), false)
}

fn followed(seconds: impl IntoIterator<Item = i64>) -> Book {
    let mut book = Book::default();
    for (second, now) in seconds.into_iter().zip(NOW..) {
        book.follow(&first(second), now);
    }
    book
}

#[test]
fn a_late_first_publication_that_was_heard_and_not_stored_is_published_at_the_takeover() {
    // Between bars that are known, and before all of them.
    for late in [62, 50] {
        let mut book = followed([60, 61, 63, 64, late]);
        assert!(book.settle(Some(&first(64)), 9));
        assert_eq!(judged(&book, late), Judgement::Publish(0), "heard");
        assert_eq!(judged(&book, 63), Judgement::Published(0));

        // The newest message was read, while the late one was heard.
        let mut book = Book::default();
        book.begin_anew();
        book.follow(&first(late), NOW);
        for second in [60, 61, 63, 64] {
            book.seed(&first(second));
        }
        assert!(book.settle(Some(&first(64)), 9));
        assert_eq!(judged(&book, late), Judgement::Publish(0), "read");

        let mut book = followed([60, 61, 63, 64, late]);
        book.catch_up(&[first(64), first(65)], NOW + 3);
        assert!(book.settle(Some(&first(65)), 9));
        assert_eq!(judged(&book, late), Judgement::Publish(0), "caught up");

        let mut book = followed([60, 61, 63, 64, late]);
        assert!(book.settle_since(&[first(63), first(64)], NOW + 2, 9));
        assert_eq!(judged(&book, late), Judgement::Publish(0), "since");
        book.publish(late * 1_000, first(late).content(), 10);
        assert_eq!(judged(&book, late), Judgement::Published(0), "once");
    }
}

#[test]
fn bars_before_a_late_one_that_is_the_newest_of_the_record_are_not_published_again() {
    // Also if more is heard after it than is remembered in its order.
    for unstored in [0, 1, 40] {
        let newer = 65..65 + unstored;
        let check = |book: &Book| {
            for second in [60, 61, 62, 63, 64] {
                assert_eq!(judged(book, second), Judgement::Published(0), "{second}");
            }
            for second in newer.clone() {
                assert_eq!(judged(book, second), Judgement::Publish(0), "{second}");
            }
        };
        let heard = || [60, 61, 63, 64, 62].into_iter().chain(newer.clone());
        let mut book = followed(heard());
        assert!(book.settle(Some(&first(62)), 9));
        check(&book);

        let mut book = followed(heard());
        assert!(book.settle_since(&[first(64), first(62)], NOW + 3, 9));
        check(&book);

        // It was not heard.
        let mut book = followed([60, 61, 63, 64]);
        book.catch_up(&[first(64), first(62)], NOW + 3);
        for second in newer.clone() {
            book.follow(&first(second), NOW + 9);
        }
        assert!(book.settle(Some(&first(62)), 9));
        check(&book);
    }
}

#[test]
fn what_was_stored_before_a_position_and_heard_after_it_is_not_published_again() {
    // The position that was asked for is that of the fourth one, which came a moment later.
    let since: Vec<RecordHead> = (5..=9).map(first).collect();
    let mut book = followed(1..=4);
    book.catch_up(&since, NOW + 3);
    assert!(book.settle(since.last(), 9));
    assert_eq!(judged(&book, 4), Judgement::Published(0));
    let mut book = followed(1..=4);
    assert!(book.settle_since(&since, NOW + 3, 9));
    assert_eq!(judged(&book, 4), Judgement::Published(0));
}
