//! Reading the past page by page.

use std::sync::Arc;

use bus::{Bus, BusError, Page, Position, Range, Start, StreamSpec};

use crate::setup::{Setup, on_both, payload, text, within};

on_both! {
    pages_give_all_that_is_kept_once_and_in_order,
    page_holds_no_more_messages_or_bytes_than_asked_for,
    reading_goes_on_from_a_position_or_a_time,
    what_is_kept_no_more_is_left_out_and_can_be_noticed,
    position_of_a_stream_that_was_created_anew_is_refused,
    pages_are_whole_while_others_publish,
    ranges_that_cannot_be_read_are_refused,
    prefix_is_invisible_in_ranges,
}

async fn store(bus: &Arc<dyn Bus>, subject: &str, number: u32) {
    bus.publish_durable(subject, payload(number))
        .await
        .expect("stored");
}

async fn page(bus: &Arc<dyn Bus>, range: &Range) -> Page {
    within("a page", bus.streams().range(range))
        .await
        .expect("the bus is open")
}

fn texts(page: &Page) -> Vec<String> {
    let shown = |message| format!("{}={}", subject(message), text(message));
    page.messages.iter().map(shown).collect()
}

fn subject(message: &bus::Message) -> &str {
    &message.subject
}

/// All pages from `start` on.
async fn all(bus: &Arc<dyn Bus>, pattern: &str, start: Start, messages_max: usize) -> Vec<Page> {
    let mut pages = Vec::new();
    let mut range = Range::new(pattern, start, messages_max);
    loop {
        let read = page(bus, &range).await;
        let end = read.end();
        let is_end = read.is_end;
        pages.push(read);
        match end {
            Some(end) if !is_end => range.start = Start::After(end),
            _ => return pages,
        }
    }
}

async fn pages_give_all_that_is_kept_once_and_in_order(setup: Setup) {
    let bus = setup.bus().await;
    for number in 0..25 {
        store(&bus, &format!("closed.1m.{}", number % 3), number).await;
    }
    store(&bus, "closed.1h.0", 99).await;
    let pages = all(&bus, "closed.1m.*", Start::Oldest, 10).await;
    let lengths: Vec<usize> = pages.iter().map(|page| page.messages.len()).collect();
    assert_eq!(lengths, [10, 10, 5]);
    let read: Vec<String> = pages.iter().flat_map(texts).collect();
    let expected: Vec<String> = (0..25)
        .map(|number| format!("closed.1m.{}={number}", number % 3))
        .collect();
    assert_eq!(read, expected);
    let positions: Vec<Position> = pages
        .iter()
        .flat_map(|page| &page.messages)
        .map(|message| **message.position.as_ref().expect("it is kept"))
        .collect();
    let sequences: Vec<u64> = positions.iter().map(|at| at.sequence).collect();
    assert_eq!(sequences, (1..=25).collect::<Vec<u64>>());
    assert!(positions.is_sorted_by_key(|at| at.stored_ns));
    assert_eq!((pages[2].first_sequence, pages[2].last_sequence), (1, 26));
    let one = page(&bus, &Range::new("closed.1m.2", Start::Oldest, 100)).await;
    assert_eq!(one.messages.len(), 8);
    assert!(one.is_end);
}

async fn page_holds_no_more_messages_or_bytes_than_asked_for(setup: Setup) {
    let bus = setup.bus().await;
    for number in 0..6 {
        let thousand = format!("{number:01000}");
        bus.publish_durable("closed.1m.A", payload(thousand))
            .await
            .expect("stored");
    }
    let mut range = Range::new("closed.>", Start::Oldest, 6);
    let whole = page(&bus, &range).await;
    assert_eq!((whole.messages.len(), whole.is_end), (6, true));
    range.bytes_max = 2_500;
    let two = page(&bus, &range).await;
    assert_eq!((two.messages.len(), two.is_end), (2, false));
    // One always fits, or reading would stand still.
    range.bytes_max = 1;
    let one = page(&bus, &range).await;
    assert_eq!((one.messages.len(), one.is_end), (1, false));
    range.messages_max = 1;
    range.start = Start::After(two.end().expect("two messages"));
    let third = page(&bus, &range).await;
    assert_eq!(third.messages, [whole.messages[2].clone()]);
}

async fn reading_goes_on_from_a_position_or_a_time(setup: Setup) {
    let bus = setup.bus().await;
    for number in 0..5 {
        store(&bus, "closed.1m.A", number).await;
    }
    let whole = page(&bus, &Range::new("closed.>", Start::Oldest, 10)).await;
    let third = **whole.messages[2].position.as_ref().expect("it is kept");
    let after = page(&bus, &Range::new("closed.>", Start::After(third), 10)).await;
    assert_eq!(texts(&after), ["closed.1m.A=3", "closed.1m.A=4"]);
    let since = Start::Since(third.stored_ns);
    let since = page(&bus, &Range::new("closed.>", since, 10)).await;
    // A coarse clock may give the one before the same time.
    assert!(since.messages.ends_with(&whole.messages[2..]), "{since:?}");
    let end = whole.end().expect("it has messages");
    let nothing = page(&bus, &Range::new("closed.>", Start::After(end), 10)).await;
    assert_eq!((nothing.messages.len(), nothing.is_end), (0, true));
    let future = Start::Since(end.stored_ns + 3_600_000_000_000);
    let nothing = page(&bus, &Range::new("closed.>", future, 10)).await;
    assert_eq!((nothing.messages.len(), nothing.is_end), (0, true));
    store(&bus, "closed.1m.A", 5).await;
    let next = page(&bus, &Range::new("closed.>", Start::After(end), 10)).await;
    assert_eq!(texts(&next), ["closed.1m.A=5"]);
}

async fn what_is_kept_no_more_is_left_out_and_can_be_noticed(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, "closed.1m.A", 0).await;
    let first = page(&bus, &Range::new("closed.>", Start::Oldest, 1)).await;
    let first = first.end().expect("it is kept");
    for number in 1..=40 {
        store(&bus, "closed.1m.A", number).await;
    }
    let next = page(&bus, &Range::new("closed.>", Start::After(first), 100)).await;
    assert_eq!(next.messages.len(), 32);
    assert_eq!(text(&next.messages[0]), "9");
    assert_eq!(next.first_sequence, 10);
    assert!(next.first_sequence > first.sequence + 1, "some are missing");
}

async fn position_of_a_stream_that_was_created_anew_is_refused(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, "closed.1m.A", 1).await;
    let before = page(&bus, &Range::new("closed.>", Start::Oldest, 1)).await;
    let before = before.end().expect("it is kept");
    let streams = bus.streams();
    assert_eq!(streams.delete_stream("closed").await, Ok(true));
    let spec = StreamSpec::newest("closed", 32, true);
    streams.put_stream(spec).await.expect("created");
    store(&bus, "closed.1m.A", 2).await;
    let range = Range::new("closed.>", Start::After(before), 1);
    let refused = streams.range(&range).await;
    let lost = BusError::PositionLost {
        root: "closed".to_owned(),
    };
    assert_eq!(refused, Err(lost));
    let anew = page(&bus, &Range::new("closed.>", Start::Oldest, 1)).await;
    assert_eq!(texts(&anew), ["closed.1m.A=2"]);
    let position = anew.end().expect("it is kept");
    assert_eq!(position.sequence, before.sequence);
    assert!(position.stream_created_ns > before.stream_created_ns);
}

async fn pages_are_whole_while_others_publish(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let publishing = tokio::spawn(async move {
        for number in 0..600 {
            store(&publisher, &format!("closed.1m.{number}"), number).await;
        }
    });
    let mut range = Range::new("closed.>", Start::Oldest, 7);
    let mut sequences = Vec::new();
    within("all messages", async {
        while sequences.len() < 600 {
            let read = page(&receiver, &range).await;
            for message in &read.messages {
                sequences.push(message.position.as_ref().expect("it is kept").sequence);
            }
            if let Some(end) = read.end() {
                range.start = Start::After(end);
            }
        }
    })
    .await;
    assert_eq!(sequences, (1..=600).collect::<Vec<u64>>());
    publishing.await.expect("no panic");
}

async fn ranges_that_cannot_be_read_are_refused(setup: Setup) {
    let bus = setup.bus().await;
    let read = async |range: Range| bus.streams().range(&range).await;
    for pattern in ["*.1m.A", ">", "closed", "closed..A"] {
        let refused = read(Range::new(pattern, Start::Oldest, 1)).await;
        assert!(
            matches!(refused, Err(BusError::Pattern { .. })),
            "{refused:?}"
        );
    }
    let refused = read(Range::new("market.>", Start::Oldest, 1)).await;
    assert!(
        matches!(refused, Err(BusError::NotRetained { .. })),
        "{refused:?}"
    );
    for messages_max in [0, bus::PAGE_MESSAGES_MAX + 1] {
        let refused = read(Range::new("closed.>", Start::Oldest, messages_max)).await;
        assert!(
            matches!(refused, Err(BusError::Config { .. })),
            "{refused:?}"
        );
    }
}

async fn prefix_is_invisible_in_ranges(setup: Setup) {
    let config = bus::BusConfig {
        bus_prefix: "eu.staging".to_owned(),
        ..bus::BusConfig::default()
    };
    let bus = setup.bus_with(config).await;
    store(&bus, "closed.1m.A", 1).await;
    let read = page(&bus, &Range::new("closed.*.A", Start::Oldest, 9)).await;
    assert_eq!(texts(&read), ["closed.1m.A=1"]);
    let last = bus.streams().last("closed.1m.A").await.expect("open");
    assert_eq!(last, read.messages.first().cloned());
    assert_eq!(bus.streams().last("closed.1m.B").await, Ok(None));
}
