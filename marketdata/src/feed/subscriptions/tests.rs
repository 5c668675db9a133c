use proptest::prelude::*;

use super::*;
use crate::exchange::registry;

const RETRY_MS: i64 = 30_000;
const ACK_MS: i64 = 10_000;

fn subscriptions(exchange: &str, natives: &[String], frame_max: usize) -> Subscriptions {
    let symbols: Vec<Subscription> = natives
        .iter()
        .enumerate()
        .map(|(instrument, native)| Subscription {
            instrument,
            native: native.clone(),
            refusal: None,
        })
        .collect();
    let exchange = registry::find(exchange).expect("registered");
    Subscriptions::new(
        exchange,
        &symbols,
        crate::exchange::Wanted::default(),
        frame_max,
        RETRY_MS,
        0,
    )
}

/// How a venue answers a frame with symbols that it does not know.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// It refuses the frame and names the first such symbol.
    Names,
    /// It refuses the frame and says no name.
    IsVague,
    /// It does not answer.
    IgnoresIt,
}

/// Plays a venue that lists `is_listed`, up to `until_ms`. Gives (up, refused).
fn play(
    subscriptions: &mut Subscriptions,
    is_listed: impl Fn(usize, i64) -> bool,
    manner: Manner,
    has_ids: bool,
    (from_ms, until_ms): (i64, i64),
) -> (Vec<usize>, Vec<usize>) {
    let mut now = from_ms;
    while now < until_ms {
        if subscriptions.next_frame(now).is_some() {
            let (&id, sent) = subscriptions.unanswered.iter().next_back().expect("sent");
            let indexes = sent.indexes.clone();
            let bad = indexes.iter().find(|&&index| !is_listed(index, now));
            match (bad, manner) {
                (None, _) => {
                    for index in indexes {
                        subscriptions.up(index);
                    }
                }
                (Some(&bad), Manner::Names) => {
                    let message =
                        format!("{} is not a valid product", subscriptions.slots[bad].native);
                    subscriptions.refused(has_ids.then_some(id), &message, now);
                }
                (Some(_), Manner::IsVague) => {
                    subscriptions.refused(has_ids.then_some(id), "no", now);
                }
                (Some(_), Manner::IgnoresIt) => {}
            }
        }
        subscriptions.overdue(now, ACK_MS);
        now += 100;
    }
    let slots = subscriptions.slots.iter().enumerate();
    let (up, refused): (Vec<_>, Vec<_>) = slots.partition(|(_, slot)| slot.is_up);
    let index = |(index, _): (usize, &Slot)| index;
    (
        up.into_iter().map(index).collect(),
        refused.into_iter().map(index).collect(),
    )
}

proptest! {
    #[test]
    fn unknown_symbols_are_left_out_and_every_other_one_is_subscribed(
        count in 1usize..60,
        bad in proptest::collection::btree_set(0usize..60, 0..6),
        manner in prop_oneof![Just(Manner::Names), Just(Manner::IsVague), Just(Manner::IgnoresIt)],
        exchange in prop_oneof![Just("binance"), Just("coinbase"), Just("okx")],
        frame_max in 1usize..60,
    ) {
        let natives: Vec<String> = (0..count).map(|index| format!("C{index}-USD")).collect();
        let mut subscriptions = subscriptions(exchange, &natives, frame_max);
        let is_listed = |index: usize, _| !bad.contains(&index);
        let has_ids = exchange == "binance";
        let (up, refused) = play(&mut subscriptions, is_listed, manner, has_ids, (0, 200_000));
        let (bad, good): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| bad.contains(index));
        prop_assert_eq!((up, refused), (good, bad));
        prop_assert!(subscriptions.is_settled());
    }

    #[test]
    fn arbitrary_answers_never_break_the_count_of_what_is_settled(
        steps in proptest::collection::vec((0u8..5, 0u64..20, 0usize..12), 0..300),
        exchange in prop_oneof![Just("binance"), Just("coinbase"), Just("okx")],
    ) {
        let natives: Vec<String> = (0..12).map(|index| format!("C{index}-USD")).collect();
        let mut subscriptions = subscriptions(exchange, &natives, 5);
        for (now, (step, id, index)) in (0..).step_by(700).zip(steps) {
            subscriptions.next_frame(now);
            match step {
                0 => { subscriptions.up(index); }
                1 => for index in subscriptions.acknowledged(id) { subscriptions.up(index); },
                2 => { subscriptions.refused(Some(id), "no", now); }
                3 => { subscriptions.refused(None, &natives[index], now); }
                _ => { subscriptions.overdue(now, ACK_MS); }
            }
            let unsettled = subscriptions.slots.iter()
                .filter(|slot| !slot.is_up && slot.refusal.is_none()).count();
            prop_assert_eq!(subscriptions.unsettled, unsettled);
        }
    }
}

#[test]
fn a_refused_symbol_is_asked_for_again_ever_more_rarely_and_comes_once_it_is_listed() {
    let natives = ["A-USD".to_owned(), "B-USD".to_owned()];
    let mut subscriptions = subscriptions("coinbase", &natives, 50);
    let is_listed = |index: usize, now| index == 0 || now >= 100_000;
    let play = |subscriptions: &mut Subscriptions, span_ms| {
        play(subscriptions, is_listed, Manner::Names, false, span_ms)
    };
    assert_eq!(
        play(&mut subscriptions, (0, 99_000)),
        (vec![0], vec![1]),
        "refused at 0, 30 and 90 s"
    );
    let refusal = subscriptions.slots[1].refusal.expect("refused");
    assert_eq!((refusal.times, refusal.retry_at_ms), (3, 210_000));
    assert_eq!(
        play(&mut subscriptions, (99_000, 209_900)),
        (vec![0], vec![1])
    );
    assert_eq!(
        play(&mut subscriptions, (209_900, 211_000)),
        (vec![0, 1], vec![])
    );
}

#[test]
fn the_wait_after_a_refusal_doubles_up_to_an_hour() {
    let mut refusal = None;
    let mut waits_s = Vec::new();
    for _ in 0..9 {
        let next = Refusal::after(refusal, RETRY_MS, 0);
        waits_s.push(next.retry_at_ms / 1_000);
        refusal = Some(next);
    }
    assert_eq!(waits_s, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
}
