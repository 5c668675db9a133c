//! A symbol's lease comes and goes.
//!
//! While it is ours, bars are published unless they are published already. While it is not, the
//! newest bars are kept, and what its holder publishes is followed, so that the first message after
//! a takeover is the first one that is missing.

use std::sync::Arc;
use std::time::Instant;

use market_core::wire::{Stamp, encode_bar};
use market_core::{Bar, UnixMicros, UnixMillis, subject};

use super::super::book::{Content, Judgement, Newest, RecordHead};
use super::super::durable::Item;
use super::super::fence::{Fenced, Hold};
use super::super::message::{Closing, EncodedBar, Trigger};
use super::super::trace::Traced;
use super::{Outbox, State};
use crate::instrument::InstrumentId;

impl Outbox {
    /// The subjects of the records of its topics, in the order of the topics' indexes.
    pub(crate) fn record_subjects(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.iter().map(|topic| &topic.closed_subject)
    }

    /// The symbol has its first trade, or continues after a restart. `closed_until` has the start of
    /// the first unpublished bar of each timeframe.
    pub fn begin(&self, symbol: usize, closed_until: impl Iterator<Item = UnixMillis>) {
        let mut state = self.state();
        state.begun[symbol] = Some(closed_until.collect());
        if state.holds[symbol].is_some() {
            self.begin_boundaries(&state, symbol);
        }
    }

    /// The boundaries wait for the symbol, from the first bar on that is not published.
    fn begin_boundaries(&self, state: &State, symbol: usize) {
        let Some(begun) = &state.begun[symbol] else {
            return;
        };
        let first = symbol * self.timeframes.len();
        let from = begun.iter().zip(&self.timeframes).enumerate();
        let from = from.map(|(index, (&begun_ms, timeframe))| {
            let newest_ms = state.books[first + index].newest_ms();
            let published_ms = newest_ms.map(|newest_ms| timeframe.end_of(newest_ms));
            published_ms.map_or(begun_ms, |published_ms| published_ms.max(begun_ms))
        });
        let instrument = self.symbols[symbol].publication.instrument;
        self.boundaries.begin(instrument, from);
    }

    /// The epoch under which the symbol is published here; `None` while it is a standby's.
    #[must_use]
    pub fn held_epoch(&self, symbol: usize) -> Option<u64> {
        self.state().holds[symbol].as_ref().map(|hold| hold.epoch)
    }

    /// The symbol is ours to publish from `now_us` on: what is missing of it goes out first. Called
    /// again, it publishes under another number.
    pub fn hold(&self, symbol: usize, hold: &Hold, now_us: UnixMicros) {
        let first = symbol * self.timeframes.len();
        let topics = first..first + self.timeframes.len();
        let mut state = self.state();
        let before = state.holds[symbol].replace(hold.clone());
        if before.is_none_or(|before| before.epoch != hold.epoch) {
            // Numbers count within an epoch.
            state.seqs[topics.clone()].fill(0);
            state.trade_seqs[symbol] = 0;
        }
        self.begin_boundaries(&state, symbol);
        let mut owed: Vec<(usize, Bar)> = Vec::new();
        let mut repeated: Vec<(usize, Bar)> = Vec::new();
        for topic in topics.clone() {
            let book = &state.books[topic];
            for bar in book.own() {
                match book.judge(bar, false) {
                    Judgement::Publish(_) => owed.push((topic, *bar)),
                    // Its publisher stored one after another in the record and in the journal.
                    Judgement::Published(_) if book.is_newest(bar.start_ms) => {
                        repeated.push((topic, *bar));
                    }
                    Judgement::Published(_) | Judgement::Leave => {}
                }
            }
        }
        owed.sort_by_key(|(topic, bar)| (bar.end_ms, *topic));
        owed.append(&mut repeated);
        let trigger = Trigger::Tick { due_us: now_us };
        for (topic, bar) in owed {
            self.offer(&mut state, topic, &bar, false, now_us, trigger);
        }
        for topic in topics {
            // Gateways would show a closed bar as open again.
            let newest_ms = state.books[topic].newest_ms();
            let forming = state.forming[topic];
            let forming = forming.filter(|forming| Some(forming.start_ms) > newest_ms);
            state.forming[topic] = forming;
            let is_forming = forming.is_some();
            if is_forming && !std::mem::replace(&mut state.is_waiting[topic], true) {
                state.waiting.push_back(topic);
            }
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Nothing new of the symbol is published. What waits still goes out: see [`Outbox::flushed`].
    pub fn leave(&self, symbol: usize) {
        self.state().holds[symbol] = None;
    }

    /// Completes when every closed bar and state of the symbol that it has taken so far is
    /// published and stored, or given up. Marks wait until the bars are published.
    pub async fn flushed(&self, symbol: usize) {
        self.all_published().await;
        self.left(symbol);
        let entry = &self.symbols[symbol];
        self.lanes[entry.lane]
            .flushed(&entry.checkpoint_subject)
            .await;
    }

    async fn all_published(&self) {
        let target = self.state().closed_taken;
        loop {
            // Created before the check, so that no notification is missed.
            let published = self.published.notified();
            if self.state().closed_done >= target {
                break;
            }
            published.await;
        }
    }

    /// What waited of a symbol that was left is published, or given up: no mark waits for it.
    pub(crate) fn left(&self, symbol: usize) {
        let state = self.state();
        // It may have come back meanwhile.
        if state.holds[symbol].is_none() {
            let instrument = self.symbols[symbol].publication.instrument;
            self.boundaries.leave(instrument);
        }
    }

    /// The symbols' leases were taken by another program: what waits here is that program's
    /// business. Thousands may be lost together, so the queues are searched once.
    pub fn lose(&self, symbols: &[usize]) {
        let mut state = self.state();
        let mut is_symbol_lost = vec![false; self.symbols.len()];
        for &symbol in symbols {
            is_symbol_lost[symbol] = true;
            state.holds[symbol] = None;
            // What is on its way already does not go out either.
            std::mem::take(&mut state.rights[symbol]).lose();
        }
        let State {
            closed,
            books,
            closed_done,
            ..
        } = &mut *state;
        let width = self.timeframes.len();
        let before = closed.len();
        closed.retain(|bar| {
            let is_lost = is_symbol_lost[bar.topic / width];
            if is_lost {
                books[bar.topic].refused(bar.start_ms, bar.rev, bar.epoch);
            }
            !is_lost
        });
        *closed_done += (before - closed.len()) as u64;
        state
            .trades
            .retain(|numbered| !is_symbol_lost[numbered.symbol]);
        state.events.retain(|event| event.right.holds());
        drop(state);
        self.published.notify_waiters();
        for &symbol in symbols {
            let instrument = self.symbols[symbol].publication.instrument;
            self.boundaries.lose(instrument);
        }
    }

    /// Another program has taken the symbol's lease under this number, as far as the bus tells. What
    /// is heard under a lower one from now on may have been refused. A late answer may tell of a lease
    /// that is older than what is known.
    pub(crate) fn claimed(&self, symbol: usize, number: u64) {
        let mut state = self.state();
        let claimed = &mut state.claimed[symbol];
        *claimed = number.max(*claimed);
    }

    /// Takes the instruments of which a bar was heard that the bus may have refused, each with the
    /// number of the lease that says so.
    pub(crate) fn take_doubted(&self) -> Vec<(InstrumentId, u64)> {
        let mut state = self.state();
        let doubted = std::mem::take(&mut state.doubted).into_iter();
        let doubted = doubted.map(|symbol| {
            let instrument = self.symbols[symbol].publication.instrument;
            (instrument, state.claimed[symbol])
        });
        doubted.collect()
    }

    /// What seemed to be a lease of the number `attempt` was not taken: the lease of now has this
    /// number.
    pub(crate) fn not_claimed(&self, symbol: usize, attempt: u64, number: u64) {
        let claimed = &mut self.state().claimed[symbol];
        // Another one may have been heard meanwhile.
        if *claimed == attempt {
            *claimed = number;
        }
    }

    /// A bar that another program publishes now is not published here.
    pub(crate) fn disown(&self, bar: &EncodedBar) {
        self.state().books[bar.topic].refused(bar.start_ms, bar.rev, bar.epoch);
    }

    /// Records of the topic were missed: what the bus keeps of it is read next.
    pub(crate) fn begin_anew(&self, topic: usize) {
        self.state().books[topic].begin_anew();
    }

    /// The subjects of the records of a symbol, in the order of its timeframes.
    pub(crate) fn records_of(&self, symbol: usize) -> Vec<Arc<str>> {
        let first = symbol * self.timeframes.len();
        let topics = &self.topics[first..first + self.timeframes.len()];
        let subjects = topics.iter().map(|topic| Arc::clone(&topic.closed_subject));
        subjects.collect()
    }

    /// The symbol is taken over from the lease of the number `holder`, and this is in its records, in
    /// the order of its timeframes. False if something before it was missed, or may be in no record.
    pub(crate) fn settle(&self, symbol: usize, records: &[Newest], holder: u64) -> bool {
        let first = symbol * self.timeframes.len();
        let mut state = self.state();
        let books = &mut state.books[first..first + self.timeframes.len()];
        let settled = books
            .iter_mut()
            .zip(records)
            .map(|(book, newest)| match newest {
                Newest::Last(last) => book.settle(last.as_ref(), holder),
                Newest::Since { stored, after_ms } => book.settle_since(stored, *after_ms, holder),
            });
        settled.filter(|is_known| !is_known).count() == 0
    }

    /// The bus keeps these bars of a topic, which it took after the last one that is known, in their
    /// order; what was heard before `after_ms` is known. If `is_anew`, there may be others in between,
    /// which it keeps no more.
    pub(crate) fn catch_up(
        &self,
        topic: usize,
        heads: &[RecordHead],
        after_ms: UnixMillis,
        is_anew: bool,
    ) {
        let book = &mut self.state().books[topic];
        if is_anew {
            book.seed_anew(heads);
        } else {
            book.catch_up(heads, after_ms);
        }
    }

    /// This is the newest bar of a topic that the bus keeps, and what is before it cannot be read.
    pub(crate) fn continue_after(&self, topic: usize, newest: &RecordHead) {
        self.state().books[topic].continue_after(newest);
    }

    /// The bus keeps this bar of a topic.
    pub(crate) fn seed(&self, topic: usize, head: &RecordHead) {
        self.state().books[topic].seed(head);
    }

    /// A bar was sent to the record of a topic, at `now`. Bars of ours are known, and bars of an epoch
    /// before ours are refused.
    pub(crate) fn follow(&self, topic: usize, head: &RecordHead, now: UnixMillis) {
        let mut state = self.state();
        let symbol = topic / self.timeframes.len();
        let hold = &state.holds[symbol];
        if hold.as_ref().is_none_or(|hold| hold.epoch < head.epoch) {
            let is_doubtful = head.epoch < state.claimed[symbol];
            state.books[topic].follow(head, now);
            if is_doubtful {
                state.books[topic].doubt(head);
                state.doubted.insert(symbol);
            }
        }
    }

    /// Whether the bus has stored a bar under its fence since the last call.
    pub(crate) fn take_stored(&self) -> bool {
        self.refusals.take_stored()
    }

    /// Takes note of the bars that the bus refused. Tells of which instruments they are, and whether
    /// they were refused under the number that we hold now.
    pub(crate) fn take_refused(&self) -> Vec<(InstrumentId, bool)> {
        let refused = self.refusals.take();
        if refused.is_empty() {
            return Vec::new();
        }
        let mut state = self.state();
        let mut instruments = Vec::new();
        for bar in refused {
            state.books[bar.topic].refused(bar.start_ms, bar.rev, bar.epoch);
            let symbol = bar.topic / self.timeframes.len();
            let fence = state.holds[symbol].as_ref().map(|hold| &hold.fence);
            let is_of_now = fence.is_some_and(|fence| fence.as_ref() == Some(&bar.expected));
            let instrument = self.symbols[symbol].publication.instrument;
            instruments.push((instrument, is_of_now));
        }
        instruments.dedup();
        instruments
    }

    /// Queues a bar if its symbol is ours and it is not published yet. True if it was queued.
    pub(super) fn offer(
        &self,
        state: &mut State,
        index: usize,
        bar: &Bar,
        is_new: bool,
        now_us: UnixMicros,
        trigger: Trigger,
    ) -> bool {
        let Some(hold) = state.holds[index / self.timeframes.len()].clone() else {
            return false;
        };
        let (rev, is_due) = match state.books[index].judge(bar, is_new) {
            Judgement::Publish(rev) => (rev, true),
            Judgement::Published(rev) => (rev, false),
            Judgement::Leave => return false,
        };
        let names = &self.topics[index];
        let entry = &self.symbols[index / self.timeframes.len()];
        let lane = &self.lanes[entry.lane];
        let bar = Bar { rev, ..*bar };
        let stamp = Stamp {
            seq: state.seqs[index] + u64::from(is_due),
            epoch: hold.epoch,
            published_us: now_us,
        };
        let Some(payload) = encode_bar(
            &names.topic,
            entry.publication.exchange,
            &entry.publication.symbol,
            &bar,
            stamp,
        ) else {
            return false;
        };
        if !is_due {
            // Its publisher may have ended between the record and the journal.
            let journal = subject::journal(&names.closed_subject).filter(|_| lane.has_journal());
            if let Some(journal) = journal {
                let right = state.rights[index / self.timeframes.len()].clone();
                lane.push_again(Item::under(right, journal.into(), payload));
            }
            return false;
        }
        state.seqs[index] = stamp.seq;
        let trace = state.closed_sampler.trace(bar.rev > 0);
        state.books[index].publish(bar.start_ms, Content::of(&bar), hold.epoch);
        if state.closed.len() >= self.bounds.bars_max {
            state.closed.pop_front();
            state.closed_done += 1;
            self.dropped_bars.increment(1);
        }
        state.closed_taken += 1;
        state.closed.push_back(EncodedBar {
            subject: Arc::clone(&names.subject),
            payload: payload.clone(),
            queued_at: Instant::now(),
            trigger,
            closing: (bar.rev == 0).then_some(Closing {
                instrument: entry.publication.instrument,
                timeframe: bar.timeframe,
                end_ms: bar.end_ms,
            }),
            topic: index,
            start_ms: bar.start_ms,
            rev,
            epoch: hold.epoch,
            right: state.rights[index / self.timeframes.len()].clone(),
            trace: trace.map(|trace| Traced::bar(trace, &bar)),
        });
        // Under the lock, so that the lane gets a symbol's bars in their order.
        lane.push(Item {
            subject: Arc::clone(&names.closed_subject),
            payload,
            fence: hold.fence.map(|expected| {
                Box::new(Fenced {
                    expected,
                    topic: index,
                    start_ms: bar.start_ms,
                    rev,
                    epoch: hold.epoch,
                })
            }),
            right: None,
            trace: trace.map(Box::new),
        });
        true
    }
}
