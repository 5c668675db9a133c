//! Programs, the bus between them, and what can happen to them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bus::Holding;

use crate::lease::beat::Beat;
use crate::lease::carriers::Carriers;
use crate::lease::share::Share;
use crate::lease::tenure::{Ask, Claimed, Tenure};

pub(super) const SILENCE_MS: i64 = 500;
pub(super) const STEP_MS: i64 = 50;
/// The width of a bar.
const BAR_MS: i64 = 100;
/// A program keeps so many of its own bars.
const OWN_MAX: i64 = 100;
/// How long it takes to read what is published.
const READ_MS: i64 = 150;

/// The bus: one lease for each instrument, the record of its bars, and beats on their way.
#[derive(Default)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) leases: Vec<Option<Holding>>,
    sequence: u64,
    pub(super) programs: Vec<Program>,
    /// Whether the stream answers.
    pub(super) has_stream: bool,
    /// Stored under a lease: instrument, program, number. The bus checks the fence.
    pub(super) stored: Vec<(usize, usize, u64)>,
    /// By instrument: the stored bars, in their order.
    pub(super) record: Vec<Vec<i64>>,
    /// Whether programs share the instruments.
    is_shared: bool,
    /// Instruments that were moved.
    pub(super) moves: usize,
}

pub(super) struct Program {
    pub(super) tenure: Tenure,
    /// By instrument: whether it has it.
    has: Vec<bool>,
    /// Stands still until then.
    pub(super) stopped_until: i64,
    /// The bus does not reach it until then.
    pub(super) cut_until: i64,
    pub(super) is_dead: bool,
    /// The venues do not reach it.
    pub(super) is_unfed: bool,
    /// What waits for it, as a socket's buffer keeps it.
    waiting: VecDeque<Heard>,
    /// Records were lost on their way to it.
    has_lost: bool,
    /// By instrument: when its records will have been read.
    reads_until: Vec<Option<i64>>,
    /// By instrument: the bars that it knows to be published.
    known: Vec<BTreeSet<i64>>,
    /// The first bar that it has made itself.
    first_bar: i64,
    /// What it believes that it holds.
    held: Vec<Option<Holding>>,
    beat_at: i64,
}

/// What a program hears.
enum Heard {
    Beat(Beat),
    /// The instrument and the bar.
    Record(usize, i64),
}

impl Program {
    /// One that starts at `now` and has these instruments.
    fn new(name: &str, has: &[bool], now: i64) -> Self {
        let mut tenure = Tenure::new(name.to_owned(), has.len(), SILENCE_MS);
        for (instrument, has) in has.iter().enumerate() {
            if *has {
                tenure.join(instrument);
            }
        }
        Self {
            tenure,
            has: has.to_vec(),
            stopped_until: 0,
            cut_until: 0,
            is_dead: false,
            is_unfed: false,
            waiting: VecDeque::new(),
            has_lost: false,
            reads_until: has.iter().map(|has| has.then_some(now)).collect(),
            known: vec![BTreeSet::new(); has.len()],
            first_bar: now / BAR_MS,
            held: vec![None; has.len()],
            beat_at: 0,
        }
    }

    fn sharing(self) -> Self {
        let names = (0..self.has.len()).map(|at| format!("okx:S{at}-USD"));
        let share = Some(Share::of_names(names));
        Self {
            tenure: self.tenure.sharing(share),
            ..self
        }
    }

    fn may_publish(&self, now: i64) -> bool {
        self.tenure
            .valid_until_ms()
            .is_some_and(|until| now < until)
    }

    /// The bars that it would publish, if the lease were its own.
    fn owed(&self, instrument: usize, now: i64) -> Vec<i64> {
        let newest = now / BAR_MS - 1;
        let known = &self.known[instrument];
        let oldest = self.first_bar.max(newest - OWN_MAX);
        // What is older than all that it knows counts as published.
        let oldest = known.first().map_or(newest, |&first| oldest.max(first));
        (oldest..=newest)
            .filter(|bar| !known.contains(bar))
            .collect()
    }
}

impl World {
    /// Programs that have every instrument.
    pub(super) fn new(names: &[&str], instruments: usize) -> Self {
        let has = vec![true; instruments];
        let all: Vec<(&str, &[bool])> = names.iter().map(|name| (*name, &*has)).collect();
        Self::of(&all)
    }

    /// The same, and they share them.
    pub(super) fn shared(names: &[&str], instruments: usize) -> Self {
        let mut world = Self::new(names, instruments);
        world.is_shared = true;
        let programs = std::mem::take(&mut world.programs).into_iter();
        world.programs = programs.map(Program::sharing).collect();
        world
    }

    /// Programs, and which instruments each of them has.
    pub(super) fn of(programs: &[(&str, &[bool])]) -> Self {
        let instruments = programs.first().map_or(0, |(_, has)| has.len());
        Self {
            leases: vec![None; instruments],
            programs: programs
                .iter()
                .map(|(name, has)| Program::new(name, has, 0))
                .collect(),
            has_stream: true,
            record: vec![Vec::new(); instruments],
            ..Self::default()
        }
    }

    /// A program dies, and another one starts in its place.
    pub(super) fn restart(&mut self, index: usize, name: &str) {
        let has = self.programs[index].has.clone();
        let program = Program::new(name, &has, self.now);
        self.programs[index] = match self.is_shared {
            true => program.sharing(),
            false => program,
        };
    }

    /// Gives an instrument up that another program is to publish.
    fn move_surplus(&mut self, index: usize) {
        let now = self.now;
        let Some(instrument) = self.programs[index].tenure.surplus(now) else {
            return;
        };
        self.programs[index].tenure.moved(instrument, now);
        let held = self.programs[index].held[instrument].as_ref();
        if !self.has_stream || self.leases[instrument].as_ref() != held {
            return;
        }
        self.moves += 1;
        self.release(index, instrument);
        let program = &mut self.programs[index];
        program.tenure.join(instrument);
        program.reads_until[instrument] = Some(now + READ_MS);
    }

    /// A program loses the records that wait for it, as a full queue does.
    pub(super) fn lose(&mut self, index: usize) {
        let program = &mut self.programs[index];
        let before = program.waiting.len();
        program
            .waiting
            .retain(|heard| matches!(heard, Heard::Beat(_)));
        program.has_lost |= program.waiting.len() < before;
    }

    /// The bus does not reach a program for so long.
    pub(super) fn cut(&mut self, index: usize, ms: i64) {
        let program = &mut self.programs[index];
        program.cut_until = self.now + ms;
        program.waiting.clear();
        program.has_lost = true;
    }

    pub(super) fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while self.now < until {
            self.now += STEP_MS;
            self.announce();
            for index in 0..self.programs.len() {
                self.step(index);
            }
        }
    }

    /// Each program knows what the living ones have.
    fn announce(&mut self) {
        let living = self.programs.iter().filter(|program| !program.is_dead);
        let carriers = living.map(|program| {
            let is_said = |(id, has): (usize, &bool)| {
                *has && (!program.is_unfed || program.held[id].is_some())
            };
            let said = program.has.iter().enumerate().map(is_said);
            (program.tenure.me.clone(), said.collect())
        });
        let carriers = Arc::new(Carriers::new(carriers));
        for program in &mut self.programs {
            let unfed = (0..program.has.len()).filter(|_| program.is_unfed);
            let unfed = unfed.collect();
            program.tenure.know(Arc::clone(&carriers), unfed);
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
                    other.waiting.push_back(Heard::Beat(beat.clone()));
                }
            }
        }
        let program = &mut self.programs[index];
        for heard in std::mem::take(&mut program.waiting) {
            match heard {
                Heard::Beat(beat) => program.tenure.heard(&beat, now),
                Heard::Record(instrument, bar) => {
                    program.known[instrument].insert(bar);
                }
            }
        }
        if !is_cut {
            if std::mem::take(&mut program.has_lost) {
                for instrument in program.tenure.missed() {
                    program.reads_until[instrument] = Some(now + READ_MS);
                }
            }
            self.read(index);
        }
        let mut asks = Vec::new();
        self.programs[index].tenure.tick(now, &mut asks);
        self.carry_out(index, asks, is_cut);
        if !is_cut {
            self.move_surplus(index);
        }
    }

    /// Ends the reads that are due.
    fn read(&mut self, index: usize) {
        if !self.has_stream {
            return;
        }
        let program = &mut self.programs[index];
        for (instrument, record) in self.record.iter().enumerate() {
            if program.reads_until[instrument].is_none_or(|until| self.now < until) {
                continue;
            }
            program.known[instrument].extend(record);
            let is_known = program.tenure.joined(instrument);
            program.reads_until[instrument] = (!is_known).then_some(self.now + READ_MS);
        }
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
                    let program = &mut self.programs[index];
                    program.held[instrument] = None;
                    program.reads_until[instrument] = Some(now + READ_MS);
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
            if self.leases[instrument].as_ref() != Some(&held) {
                self.programs[index].tenure.refused(instrument);
                continue;
            }
            self.stored.push((instrument, index, held.number));
            for bar in self.programs[index].owed(instrument, self.now) {
                self.record[instrument].push(bar);
                self.programs[index].known[instrument].insert(bar);
                self.tell(index, instrument, bar);
            }
        }
    }

    /// The bus delivers a record to all others.
    fn tell(&mut self, from: usize, instrument: usize, bar: i64) {
        for (index, other) in self.programs.iter_mut().enumerate() {
            if index != from && !other.is_dead && self.now >= other.cut_until {
                other.waiting.push_back(Heard::Record(instrument, bar));
            }
        }
    }

    /// The programs that publish an instrument to clients now.
    pub(super) fn publishers(&self, instrument: usize) -> Vec<usize> {
        let programs = self.programs.iter().enumerate();
        let publishing = programs.filter(|(_, program)| {
            let lives = !program.is_dead && self.now >= program.stopped_until;
            lives && program.held[instrument].is_some() && program.may_publish(self.now)
        });
        publishing.map(|(index, _)| index).collect()
    }

    pub(super) fn release(&mut self, index: usize, instrument: usize) {
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
