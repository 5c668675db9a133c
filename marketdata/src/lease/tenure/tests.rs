use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const SILENCE_MS: i64 = 500;
const STEP_MS: i64 = 50;

/// The bus: one lease for each instrument, and beats on their way.
#[derive(Default)]
struct World {
    now: i64,
    leases: Vec<Option<Holding>>,
    sequence: u64,
    programs: Vec<Program>,
    /// Whether the stream answers.
    has_stream: bool,
    /// Stored under a lease: instrument, program, number. The bus checks the fence.
    stored: Vec<(usize, usize, u64)>,
}

struct Program {
    tenure: Tenure,
    /// Stands still until then.
    stopped_until: i64,
    /// The bus does not reach it until then.
    cut_until: i64,
    is_dead: bool,
    /// Beats that wait for it, as a socket's buffer keeps them.
    waiting: VecDeque<Beat>,
    /// What it believes that it holds.
    held: Vec<Option<Holding>>,
    beat_at: i64,
}

impl Program {
    fn new(name: &str, instruments: usize) -> Self {
        let mut tenure = Tenure::new(name.to_owned(), instruments, SILENCE_MS);
        for instrument in 0..instruments {
            tenure.join(instrument);
            assert!(tenure.joined(instrument));
        }
        Self {
            tenure,
            stopped_until: 0,
            cut_until: 0,
            is_dead: false,
            waiting: VecDeque::new(),
            held: vec![None; instruments],
            beat_at: 0,
        }
    }

    fn may_publish(&self, now: i64) -> bool {
        self.tenure
            .valid_until_ms()
            .is_some_and(|until| now < until)
    }
}

impl World {
    fn new(names: &[&str], instruments: usize) -> Self {
        Self {
            leases: vec![None; instruments],
            programs: names
                .iter()
                .map(|name| Program::new(name, instruments))
                .collect(),
            has_stream: true,
            ..Self::default()
        }
    }

    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while self.now < until {
            self.now += STEP_MS;
            for index in 0..self.programs.len() {
                self.step(index);
            }
        }
    }

    fn step(&mut self, index: usize) {
        let now = self.now;
        let program = &mut self.programs[index];
        if program.is_dead || now < program.stopped_until {
            return;
        }
        let is_cut = now < program.cut_until;
        // What it publishes before it looks at anything is what a zombie does.
        self.publish(index);
        let program = &mut self.programs[index];
        if !is_cut && now >= program.beat_at {
            program.beat_at = now + SILENCE_MS / 5;
            let beat = Beat {
                instance: program.tenure.me.clone(),
                sent_ms: now,
                takes: !program.tenure.is_leaving,
            };
            for other in &mut self.programs {
                if !other.is_dead && now >= other.cut_until {
                    other.waiting.push_back(beat.clone());
                }
            }
        }
        let program = &mut self.programs[index];
        for beat in std::mem::take(&mut program.waiting) {
            program.tenure.heard(&beat, now);
        }
        let mut asks = Vec::new();
        program.tenure.tick(now, &mut asks);
        self.carry_out(index, asks, is_cut);
    }

    fn carry_out(&mut self, index: usize, mut asks: Vec<Ask>, is_cut: bool) {
        let now = self.now;
        while let Some(ask) = asks.pop() {
            let answers = self.has_stream && !is_cut;
            let tenure = &mut self.programs[index].tenure;
            match ask {
                Ask::Look(instrument) => {
                    let found = answers.then(|| self.leases[instrument].clone()).ok_or(());
                    tenure.looked(instrument, found, now, &mut asks);
                }
                Ask::Claim(instrument, from) => {
                    let claim = match (answers, self.leases[instrument] == from) {
                        (false, _) => Err(()),
                        (true, false) => Ok(Claimed::Lost(self.leases[instrument].clone())),
                        (true, true) => {
                            self.sequence += 1;
                            let holding = Holding {
                                number: from.map_or(1, |from| from.number + 1),
                                holder: Some(tenure.me.clone()),
                                sequence: self.sequence,
                            };
                            self.leases[instrument] = Some(holding.clone());
                            Ok(Claimed::Taken(holding))
                        }
                    };
                    tenure.claimed(instrument, claim, now, &mut asks);
                }
                Ask::Begin(instrument, holding) => {
                    self.programs[index].held[instrument] = Some(holding);
                }
                Ask::End(instrument) => {
                    assert!(tenure.joined(instrument));
                    self.programs[index].held[instrument] = None;
                }
                Ask::Repeat(_) => {}
            }
        }
    }

    /// Each program stores under what it believes to hold. The bus refuses it if the lease is not
    /// as the program expects.
    fn publish(&mut self, index: usize) {
        if !self.has_stream || self.now < self.programs[index].cut_until {
            return;
        }
        for instrument in 0..self.leases.len() {
            let Some(held) = self.programs[index].held[instrument].clone() else {
                continue;
            };
            if self.leases[instrument].as_ref() == Some(&held) {
                self.stored.push((instrument, index, held.number));
            } else {
                self.programs[index].tenure.refused(instrument);
            }
        }
    }

    /// The programs that publish an instrument to clients now.
    fn publishers(&self, instrument: usize) -> Vec<usize> {
        let programs = self.programs.iter().enumerate();
        let publishing = programs.filter(|(_, program)| {
            let lives = !program.is_dead && self.now >= program.stopped_until;
            lives && program.held[instrument].is_some() && program.may_publish(self.now)
        });
        publishing.map(|(index, _)| index).collect()
    }

    fn release(&mut self, index: usize, instrument: usize) {
        self.programs[index].tenure.leave(instrument);
        let held = self.programs[index].held[instrument]
            .take()
            .expect("it is ours");
        assert_eq!(self.leases[instrument].as_ref(), Some(&held));
        self.sequence += 1;
        self.leases[instrument] = Some(Holding {
            holder: None,
            sequence: self.sequence,
            ..held
        });
        for program in &mut self.programs {
            program.tenure.lease_said(instrument, None, self.now);
        }
    }
}

#[test]
fn a_program_alone_takes_every_lease_after_it_has_listened() {
    let mut world = World::new(&["a"], 3);
    world.pass(200);
    assert_eq!(
        world.publishers(0),
        [] as [usize; 0],
        "another one may be there"
    );
    world.pass(200);
    for instrument in 0..3 {
        assert_eq!(world.publishers(instrument), [0]);
    }
    // And keeps them, however long.
    world.pass(60_000);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn of_two_that_start_at_once_one_publishes_everything_and_the_other_is_a_standby() {
    let mut world = World::new(&["b", "a"], 4);
    world.pass(2_000);
    for instrument in 0..4 {
        assert_eq!(world.publishers(instrument), [1]);
        assert!(world.programs[0].tenure.is_standby(instrument));
    }
}

#[test]
fn a_standby_takes_over_once_the_holder_is_silent_and_not_before() {
    let mut world = World::new(&["a", "b"], 2);
    world.pass(2_000);
    world.programs[0].is_dead = true;
    world.pass(SILENCE_MS - 100);
    assert_eq!(world.publishers(0), [] as [usize; 0]);
    world.pass(250);
    assert_eq!(world.publishers(0), [1]);
    assert_eq!(world.publishers(1), [1]);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(2));
}

#[test]
fn a_holder_that_stood_still_publishes_nothing_before_it_has_looked() {
    let mut world = World::new(&["a", "b"], 1);
    world.pass(2_000);
    for (stop_ms, publisher) in [(300, 0), (3_000, 1)] {
        world.programs[0].stopped_until = world.now + stop_ms;
        world.pass(stop_ms - STEP_MS);
        // The moment at which it wakes, before it has done anything.
        world.now += STEP_MS;
        assert_eq!(world.publishers(0), [publisher], "{stop_ms}");
        world.now -= STEP_MS;
        world.pass(1_000);
        assert_eq!(world.publishers(0), [publisher], "{stop_ms}");
    }
    assert!(world.programs[0].tenure.is_standby(0));
    // Nothing was stored under the old lease after the new one.
    assert!(world.stored.is_sorted_by_key(|(_, _, number)| *number));
}

#[test]
fn a_lone_holder_that_stood_still_goes_on_under_its_lease() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    for has_stream in [true, false] {
        world.has_stream = has_stream;
        world.programs[0].stopped_until = world.now + 5_000;
        world.pass(5_500);
        assert_eq!(world.publishers(0), [0], "with a stream: {has_stream}");
    }
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn nobody_takes_over_while_the_bus_or_the_stream_is_away() {
    let mut world = World::new(&["a", "b"], 1);
    world.pass(2_000);
    // Without the bus, silence says nothing.
    for program in &mut world.programs {
        program.cut_until = world.now + 10_000;
    }
    world.pass(11_000);
    assert_eq!(world.publishers(0), [0]);
    // Without the stream, the holder goes on, and its death is found out when the stream is back.
    world.has_stream = false;
    world.pass(10_000);
    assert_eq!(world.publishers(0), [0]);
    world.programs[0].is_dead = true;
    world.pass(5_000);
    assert_eq!(world.publishers(0), [] as [usize; 0]);
    world.has_stream = true;
    world.pass(500);
    assert_eq!(world.publishers(0), [1]);
}

#[test]
fn a_lease_that_is_released_is_taken_at_once_by_another_program() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut world = World::new(&names, 1);
        world.pass(2_000);
        let holder = world.publishers(0)[0];
        world.release(holder, 0);
        world.pass(STEP_MS);
        assert_eq!(world.publishers(0), [1 - holder], "{names:?}");
    }
}

#[test]
fn a_lease_that_went_missing_is_taken_anew() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    world.leases[0] = None;
    world.pass(300);
    assert_eq!(world.publishers(0), [0]);
    assert!(world.leases[0].is_some());
}

#[test]
fn what_was_refused_under_an_older_number_of_ours_is_offered_again() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let tenure = &mut world.programs[0].tenure;
    tenure.refused(0);
    let mut asks = Vec::new();
    tenure.tick(world.now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
    asks.clear();
    tenure.looked(0, Ok(world.leases[0].clone()), world.now, &mut asks);
    assert_eq!(asks, [Ask::Repeat(0)]);
}

#[test]
fn beats_that_cannot_be_true_and_floods_of_them_change_nothing() {
    let mut world = World::new(&["m"], 1);
    world.pass(1_000);
    let now = world.now;
    let beat = |instance: &str, sent_ms| Beat {
        instance: instance.to_owned(),
        sent_ms,
        takes: true,
    };
    let tenure = &mut world.programs[0].tenure;
    let until_ms = tenure.valid_until_ms();
    tenure.heard(&beat("m", i64::MAX), now);
    tenure.heard(&beat("m", i64::MIN), now - 10_000);
    assert!(tenure.valid_until_ms() <= until_ms);
    for number in 0..10_000 {
        tenure.heard(&beat(&format!("a{number}"), i64::MIN), now);
    }
    tenure.heard(&beat(&"a".repeat(100_000), now), now);
    assert_eq!(tenure.others.len(), OTHERS_MAX);
    world.pass(2_000);
    assert_eq!(world.publishers(0), [0]);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn a_refusal_during_a_look_asks_for_a_second_look() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let (now, ours) = (world.now, world.leases[0].clone());
    let tenure = &mut world.programs[0].tenure;
    let mut asks = Vec::new();
    tenure.refused(0);
    tenure.tick(now, &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    // Somebody takes it after the look was answered, and before the answer is here.
    tenure.refused(0);
    tenure.looked(0, Ok(ours.clone()), now, &mut asks);
    assert_eq!(asks, [], "the answer is older than the refusal");
    tenure.tick(now, &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    tenure.looked(0, Ok(ours), now, &mut asks);
    assert_eq!(asks, [Ask::Repeat(0)]);
}

#[test]
fn a_loss_while_the_records_are_read_asks_for_another_read_before_anything_is_taken() {
    let mut world = World::new(&["a"], 1);
    let tenure = &mut world.programs[0].tenure;
    assert_eq!(tenure.missed(), [0]);
    // The second loss: the running read may have passed what was missed.
    assert_eq!(tenure.missed(), [] as [usize; 0]);
    assert!(!tenure.joined(0));
    let mut asks = Vec::new();
    let beat = |sent_ms| Beat {
        instance: "a".to_owned(),
        sent_ms,
        takes: true,
    };
    for now in (0..1_000).step_by(100) {
        tenure.heard(&beat(now), now);
        tenure.tick(now, &mut asks);
    }
    assert_eq!(asks, []);
    assert!(tenure.joined(0));
    tenure.tick(1_000, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
}

#[test]
fn a_lease_that_was_lost_is_looked_at_after_the_records_of_its_successor_were_read() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    // Records are missed while the lease counts as ours: whether it is, is not known yet.
    assert_eq!(tenure.missed(), [] as [usize; 0]);
    tenure.refused(0);
    let mut asks = Vec::new();
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
    asks.clear();
    let theirs = Holding {
        number: 2,
        holder: Some("b".to_owned()),
        sequence: 9,
    };
    tenure.looked(0, Ok(Some(theirs)), now, &mut asks);
    assert_eq!(asks, [Ask::End(0)]);
    asks.clear();
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [], "not before the records were read");
    assert!(tenure.joined(0));
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
}

#[derive(Clone, Debug)]
enum Fault {
    Stop(usize, i64),
    Cut(usize, i64),
    Stream(bool),
    /// Dies, and another one starts in its place.
    Restart(usize),
    Pass(i64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0usize..3, 100i64..4_000).prop_map(|(who, ms)| Fault::Stop(who, ms)),
        (0usize..3, 100i64..4_000).prop_map(|(who, ms)| Fault::Cut(who, ms)),
        any::<bool>().prop_map(Fault::Stream),
        (0usize..3).prop_map(Fault::Restart),
        (50i64..1_500).prop_map(Fault::Pass),
    ]
}

proptest! {
    /// Whatever stops, is cut off, dies or comes back, at whatever time: the bus stores nothing
    /// under a lease after a later one, no number is given twice, and when all is well again one
    /// program publishes each instrument.
    #[test]
    fn one_program_publishes_each_instrument_after_any_faults(
        faults in proptest::collection::vec(fault(), 0..40),
    ) {
        let mut world = World::new(&["b", "c", "a"], 3);
        let mut restarts = 0;
        for fault in faults {
            match fault {
                Fault::Stop(who, ms) => world.programs[who].stopped_until = world.now + ms,
                Fault::Cut(who, ms) => {
                    world.programs[who].cut_until = world.now + ms;
                    world.programs[who].waiting.clear();
                }
                Fault::Stream(has_stream) => world.has_stream = has_stream,
                Fault::Restart(who) => {
                    restarts += 1;
                    world.programs[who] = Program::new(&format!("r{restarts}"), 3);
                }
                Fault::Pass(ms) => world.pass(ms),
            }
        }
        world.has_stream = true;
        world.pass(4_000 + 4 * SILENCE_MS);
        for instrument in 0..3 {
            prop_assert_eq!(world.publishers(instrument).len(), 1, "instrument {}", instrument);
            let stored = world.stored.iter().filter(|(of, _, _)| *of == instrument);
            let numbers: Vec<(u64, usize)> = stored.map(|(_, by, number)| (*number, *by)).collect();
            prop_assert!(numbers.is_sorted_by_key(|(number, _)| *number));
        }
        let before = world.leases.clone();
        world.pass(5_000);
        prop_assert_eq!(before, world.leases, "no lease changes hands without a reason");
    }
}
