//! Holes before and between bars that come late, as sessions are told of them.

use super::*;

/// A session: what it has seen, got and was told.
#[derive(Debug, Default)]
struct Session {
    progress: Progress,
    /// Starts of closed bars.
    got: BTreeSet<i64>,
    skipped: u64,
}

impl Session {
    /// Subscribes without a place: a client of closed bars begins with the last one.
    fn join(slot: &Slot) -> Self {
        let closed_only = Filter {
            closed_only: true,
            ..NONE
        };
        let snapshot = slot.snapshot(closed_only);
        Self {
            progress: Progress {
                seen: slot.version,
                begun: slot.version,
            },
            got: snapshot.iter().map(start_ms).collect(),
            skipped: 0,
        }
    }

    /// Takes what it lacks.
    fn take(&mut self, slot: &Slot) {
        let newest = slot.state.newest();
        let room = &mut Room {
            log: usize::MAX,
            earlier: usize::MAX,
        };
        let delta = delta_within(
            &slot.state,
            newest.as_ref(),
            self.progress,
            slot.version,
            NONE,
            room,
        );
        self.got.extend(delta.updates.iter().map(start_ms));
        self.skipped += delta.skipped;
        self.progress.seen = slot.version;
    }

    /// The number of bars that it lacks between its first and its last one.
    fn holes(&self) -> usize {
        let (Some(&first), Some(&last)) = (self.got.first(), self.got.last()) else {
            return 0;
        };
        let all = (first..last).step_by(1_000);
        all.filter(|start| !self.got.contains(start)).count()
    }
}

fn start_ms(bar: &Payload) -> i64 {
    let value: serde_json::Value = serde_json::from_slice(bar.json()).expect("JSON");
    value["start_ms"].as_i64().expect("a time")
}

/// A slot that holds all bars of a test.
fn deep() -> Slot {
    let mut slot = Slot::new();
    (slot.depth.closed_bars, slot.depth.closed_log) = (100, 100);
    slot
}

/// A gateway that starts during a takeover gets a live bar first, and the retained ones before it a
/// little later. Those in between were stored by nobody yet.
#[test]
fn a_hole_after_older_bars_that_come_late_is_told_to_who_has_the_bar_after_it() {
    let mut slot = deep();
    slot.offer(35, 5, 2, true);
    let mut session = Session::join(&slot);
    for index in 28..32 {
        slot.offer(index, index.unsigned_abs(), 1, true);
    }
    session.take(&slot);
    assert_eq!((session.holes(), session.skipped), (3, 3), "{session:?}");
    // One that comes after them has only the last, and lacks nothing.
    let mut next = Session::join(&slot);
    slot.offer(36, 6, 2, true);
    next.take(&slot);
    assert_eq!((next.holes(), next.skipped), (0, 0));
    // What comes at last is no longer counted: who comes back is told of the rest.
    slot.offer(33, 3, 2, true);
    slot.offer(34, 4, 2, true);
    let (delta, _) = slot.resume(2, 2, Some(32_000));
    assert_eq!(delta.skipped, 1);
}

/// The same if the gateway knew of the hole before the client came.
#[test]
fn a_hole_out_of_which_a_client_gets_bars_is_told_to_it_even_if_it_came_after_the_hole() {
    let mut slot = deep();
    slot.offer(29, 29, 1, true);
    slot.offer(35, 5, 2, true);
    let mut session = Session::join(&slot);
    slot.offer(30, 30, 1, true);
    slot.offer(31, 31, 1, true);
    session.take(&slot);
    assert_eq!((session.holes(), session.skipped), (3, 3), "{session:?}");
    for index in 32..35 {
        slot.offer(index, index.unsigned_abs() - 30, 2, true);
    }
    session.take(&slot);
    assert_eq!((session.holes(), session.skipped), (0, 3), "none is left");
}

/// Bars that were here before a client came are none of its own, until it gets one from before them.
#[test]
fn a_client_that_gets_a_late_bar_also_gets_those_after_it_that_were_here_before_it_came() {
    let mut slot = deep();
    slot.offer(30, 30, 1, true);
    let mut early = Session::join(&slot);
    for index in 32..35 {
        slot.offer(index, index.unsigned_abs(), 2, true);
    }
    early.take(&slot);
    let mut session = Session::join(&slot);
    assert_eq!(session.got, BTreeSet::from([34_000]));
    slot.offer(35, 35, 2, true);
    slot.offer(31, 31, 1, true);
    for one in [&mut session, &mut early] {
        one.take(&slot);
        assert_eq!((one.holes(), one.got.last()), (0, Some(&35_000)));
    }
    assert_eq!((session.skipped, early.skipped), (0, 1), "{session:?}");
    // A revision of a bar that it never had brings nothing else.
    let before = session.got.len();
    slot.revise(30, 36, 1);
    session.take(&slot);
    assert_eq!(session.got.len(), before + 1);
}

#[test]
fn a_bar_after_a_late_one_that_is_no_longer_held_is_told() {
    let mut slot = Slot::new();
    for index in 31..40 {
        slot.offer(index, index.unsigned_abs(), 1, true);
    }
    let mut session = Session::join(&slot);
    slot.offer(30, 29, 1, true);
    slot.depth.hold = std::time::Duration::MAX;
    session.take(&slot);
    assert!(session.holes() as u64 <= session.skipped, "{session:?}");
}

#[test]
fn a_hole_that_late_bars_fill_at_once_is_told_to_nobody() {
    let mut slot = deep();
    slot.offer(35, 5, 2, true);
    let mut session = Session::join(&slot);
    for index in 28..35 {
        slot.offer(index, index.unsigned_abs(), 1, true);
    }
    session.take(&slot);
    assert_eq!((session.holes(), session.skipped), (0, 0));
}

/// A client stopped before a bar was published late, and is back on a gateway that has it, and not
/// those after it.
#[test]
fn a_client_that_resumes_and_gets_an_older_bar_is_told_of_the_hole_after_it() {
    let mut slot = deep();
    slot.offer(35, 5, 2, true);
    slot.offer(36, 6, 2, true);
    slot.offer(31, 7, 2, true);
    let (delta, _) = slot.resume(2, 6, Some(37_000));
    assert_eq!((seqs(&delta), delta.skipped), (vec![7], 3));
    // A revision of it is no news about the hole.
    slot.revise_in(2, 31, 8, 1);
    let (delta, _) = slot.resume(2, 7, Some(37_000));
    assert_eq!((seqs(&delta), delta.skipped), (vec![8], 0));
}

#[test]
fn a_revision_of_an_old_bar_opens_no_hole() {
    let mut slot = deep();
    slot.offer(35, 5, 1, true);
    let mut session = Session::join(&slot);
    slot.revise(1, 6, 1);
    session.take(&slot);
    assert_eq!(session.skipped, 0);
    // The bars between a forgotten one and the first that is remembered were here.
    slot.depth = Slot::new().depth;
    for index in 36..60 {
        slot.offer(index, index.unsigned_abs(), 1, true);
    }
    session.take(&slot);
    let before = session.skipped;
    slot.revise_in(2, 36, 1, 0);
    session.take(&slot);
    assert_eq!(session.skipped, before + 1, "itself, which is not held");
}

#[derive(Clone, Debug)]
enum Arrival {
    /// Bars are lost, and the one after them comes.
    Close(i64),
    /// A bar that was lost comes after all, or one from before the first.
    Late(usize),
    /// A session comes.
    Join(usize),
    /// A session takes what it lacks.
    Take(usize),
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = prop_oneof![
        3 => (0i64..4).prop_map(Arrival::Close),
        4 => (0usize..40).prop_map(Arrival::Late),
        2 => (0usize..3).prop_map(Arrival::Join),
        4 => (0usize..3).prop_map(Arrival::Take),
    ];
    proptest::collection::vec(arrival, 1..80)
}

proptest! {
    /// Whatever is lost, comes late or never, and whenever a session comes: between the bars that it
    /// has, none is missing here of which it was not told.
    #[test]
    fn no_session_has_a_hole_between_its_bars_of_which_it_was_not_told(arrivals in arrivals()) {
        let mut slot = deep();
        // Those from before the gateway's start.
        let mut lost: Vec<i64> = (0..8).collect();
        let mut last = 7;
        let mut sessions: [Option<Session>; 3] = Default::default();
        for arrival in arrivals {
            match arrival {
                Arrival::Close(losses) if last < 80 => {
                    lost.extend(last + 1..=last + losses);
                    last += losses + 1;
                    slot.offer(last, last.unsigned_abs(), 1, true);
                }
                Arrival::Late(at) if last > 7 && !lost.is_empty() => {
                    let index = lost.remove(at % lost.len());
                    slot.offer(index, index.unsigned_abs(), 1, true);
                }
                Arrival::Join(at) => sessions[at] = Some(Session::join(&slot)),
                Arrival::Take(at) => {
                    if let Some(session) = &mut sessions[at] {
                        session.take(&slot);
                        prop_assert!(session.holes() as u64 <= session.skipped, "{:?}", session);
                    }
                }
                Arrival::Close(_) | Arrival::Late(_) => {}
            }
        }
    }
}
