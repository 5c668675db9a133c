//! One symbol of a worker: a state machine around its pipeline. Inputs and times of this host go
//! in; outputs and the effects that the worker must carry out come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use market_core::{
    BackfillOutcome, BackfillRequest, Bar, Checkpoint, Offered, Origin, Output, Pipeline, Trade,
    UnixMillis,
};

use super::checkpoint_pace::CheckpointPace;
use super::clock_trust::ClockTrust;
use super::proof_wait::{ProofChange, ProofWait};
use super::timing::WorkerTiming;
use crate::backfill::BackfillJob;
use crate::inbox::ConnectionId;
use crate::instrument::InstrumentId;

/// See the module.
pub(super) struct Symbol {
    instrument: InstrumentId,
    native: Arc<str>,
    pipeline: Pipeline,
    timing: WorkerTiming,
    /// Connections that carry it.
    connections: Vec<ConnectionId>,
    clock: ClockTrust,
    proof: ProofWait,
    suspicion: Suspicion,
    checkpoints: CheckpointPace,
    /// The time up to which it has advanced, host time.
    ticked_ms: UnixMillis,
    formed_ms: UnixMillis,
    is_forming_due: bool,
    /// The boundaries wait for it.
    has_begun: bool,
    /// Requests in progress, and whether they are still needed.
    requests: Vec<(u64, Arc<AtomicBool>)>,
}

/// REST is asked because the symbol is silent. A second silence may come before the answer to the
/// first one.
#[derive(Default)]
struct Suspicion {
    /// The pipeline's next open-ended request is because of it.
    is_raised: bool,
    request: Option<u64>,
}

/// A checkpoint was due, but the pipeline is in the middle of a long backfill and has no state to
/// give.
#[derive(Debug)]
pub(super) struct Skipped;

impl Symbol {
    /// A symbol whose feed is down; it is number `turn` of `turns`.
    pub(super) fn new(
        instrument: InstrumentId,
        native: &str,
        mut pipeline: Pipeline,
        timing: WorkerTiming,
        now: UnixMillis,
        (turn, turns): (usize, usize),
    ) -> Self {
        // Symbols take turns, so that they are not all saved or published at once.
        let ago_ms = |interval_ms: i64| interval_ms * turn as i64 / turns.max(1) as i64;
        // Trades since the checkpoint are unknown until the feed is up, and bars must wait for them
        // as in an outage.
        pipeline.feed_down(now);
        Self {
            instrument,
            native: native.into(),
            pipeline,
            timing,
            connections: Vec::new(),
            clock: ClockTrust::new(now),
            proof: ProofWait::default(),
            suspicion: Suspicion::default(),
            checkpoints: CheckpointPace::new(
                timing.checkpoint_interval_ms,
                now - ago_ms(timing.checkpoint_interval_ms),
            ),
            ticked_ms: 0,
            formed_ms: now - ago_ms(timing.forming_interval_ms),
            is_forming_due: false,
            has_begun: false,
            requests: Vec::new(),
        }
    }

    /// Its id in the plan.
    pub(super) fn instrument(&self) -> InstrumentId {
        self.instrument
    }

    /// The connections that carry it.
    pub(super) fn connections(&self) -> &[ConnectionId] {
        &self.connections
    }

    /// A frame has told the venue's clock.
    pub(super) fn is_clock_told(&self) -> bool {
        self.clock.is_told()
    }

    /// The venue's clock minus this host's.
    pub(super) fn tell_clock(&mut self, offset_ms: i64) {
        self.clock.tell(offset_ms);
    }

    /// A connection carries it. True if none did before.
    pub(super) fn socket_up(&mut self, connection: ConnectionId, now: UnixMillis) -> bool {
        self.connections.push(connection);
        let is_first = self.connections.len() == 1;
        if is_first {
            self.proof.begin_anew();
            self.pipeline.feed_up(self.clock.venue_ms(now));
            if !self.clock.is_told() {
                self.pipeline.forget_join_time();
            }
            self.changed();
        }
        is_first
    }

    /// A connection that carried it is gone. True if no other one does.
    pub(super) fn socket_down(&mut self, connection: ConnectionId, now: UnixMillis) -> bool {
        self.connections.retain(|&carrier| carrier != connection);
        let is_down = self.connections.is_empty();
        if is_down {
            self.pipeline.feed_down(self.clock.venue_ms(now));
            self.changed();
        }
        is_down
    }

    /// It has been silent for suspiciously long.
    pub(super) fn suspect(&mut self, now: UnixMillis) {
        self.suspicion.is_raised = true;
        self.pipeline.suspect(self.clock.venue_ms(now));
        self.changed();
    }

    /// The venue has more trades between these event times than were counted.
    pub(super) fn refetch(&mut self, from_ms: UnixMillis, to_ms: UnixMillis, now: UnixMillis) {
        self.pipeline
            .refetch(from_ms, to_ms, self.clock.venue_ms(now));
        self.changed();
    }

    /// Takes a trade from a socket.
    pub(super) fn live(
        &mut self,
        trade: &Trade,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> Offered {
        let venue_now = self.clock.venue_ms(now);
        let offered = self.pipeline.offer(trade, Origin::Live, venue_now, out);
        self.changed();
        offered
    }

    /// Takes trades of a request, and says to `count` what became of each. True if they show that
    /// the symbol's socket is dead: it was suspected, and should have brought them.
    pub(super) fn backfilled(
        &mut self,
        request_id: u64,
        trades: &[Trade],
        now: UnixMillis,
        out: &mut Vec<Output>,
        mut count: impl FnMut(Offered),
    ) -> bool {
        let venue_now = self.clock.venue_ms(now);
        let mut was_missed = false;
        for trade in trades {
            let offered = self.pipeline.offer(trade, Origin::Backfill, venue_now, out);
            count(offered);
            let is_new = matches!(offered, Offered::InBar | Offered::Late { .. });
            was_missed |= is_new && trade.event_ms < venue_now - self.timing.zombie_age_ms;
        }
        self.changed();
        was_missed
            && self
                .suspicion
                .request
                .take_if(|id| *id == request_id)
                .is_some()
    }

    /// A request has ended, with all its trades taken before.
    pub(super) fn backfill_ended(
        &mut self,
        request_id: u64,
        outcome: BackfillOutcome,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        if self.suspicion.request == Some(request_id) {
            self.suspicion.request = None;
        }
        self.request_ended(request_id, outcome, now, out);
        self.changed();
    }

    /// The pipeline's request could not even be made.
    pub(super) fn backfill_not_queued(
        &mut self,
        request_id: u64,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        self.request_ended(request_id, BackfillOutcome::Failed, now, out);
    }

    fn request_ended(
        &mut self,
        request_id: u64,
        outcome: BackfillOutcome,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) {
        let venue_now = self.clock.venue_ms(now);
        self.pipeline
            .backfill_ended(request_id, outcome, venue_now, out);
    }

    /// The job for a request of the pipeline, under this assignment of the symbol.
    pub(super) fn job(&mut self, request: BackfillRequest, assignment: u64) -> BackfillJob {
        if request.last_id.is_none() && std::mem::take(&mut self.suspicion.is_raised) {
            self.suspicion.request = Some(request.id);
        }
        let wanted = Arc::new(AtomicBool::new(true));
        self.requests.push((request.id, Arc::clone(&wanted)));
        BackfillJob {
            instrument: self.instrument,
            assignment,
            native: Arc::clone(&self.native),
            request,
            wanted,
        }
    }

    /// Once, after its first trade: the times up to which its bars are closed.
    pub(super) fn begin(&mut self) -> Option<impl Iterator<Item = UnixMillis>> {
        let begins = !self.has_begun && self.pipeline.next_id().is_some();
        self.has_begun |= begins;
        begins.then(|| self.pipeline.closed_until())
    }

    /// Its connections have proved that they were read up to `proved_ms`. If the proof does not
    /// come for long, trades that may be missing count as a gap, as in an outage, and time
    /// continues.
    pub(super) fn prove(&mut self, proved_ms: UnixMillis, now: UnixMillis) -> Option<ProofChange> {
        if self.connections.is_empty() {
            return None;
        }
        let change = self
            .proof
            .judge(proved_ms, now, self.timing.proof_hold_ms)?;
        let venue_now = self.clock.venue_ms(now);
        match change {
            ProofChange::GivenUp => self.pipeline.feed_down(venue_now),
            ProofChange::Trusted => self.pipeline.feed_up(venue_now),
        }
        self.checkpoints.changed();
        Some(change)
    }

    /// Advances as far as the proof lets it, and closes due bars. True if it has advanced.
    pub(super) fn tick(
        &mut self,
        proved_ms: UnixMillis,
        now: UnixMillis,
        out: &mut Vec<Output>,
    ) -> bool {
        let limit_ms = self.proof.limit_ms(proved_ms, now);
        let advances = self.clock.may_close(now) && limit_ms > self.ticked_ms;
        if advances {
            self.ticked_ms = limit_ms;
            self.pipeline
                .tick(self.clock.venue_ms(limit_ms), limit_ms, out);
        }
        advances
    }

    /// Gives out the forming bars, if trades are new and the last ones are old enough.
    pub(super) fn forming(&mut self, now: UnixMillis, out: &mut Vec<Bar>) {
        if self.is_forming_due && now - self.formed_ms >= self.timing.forming_interval_ms {
            self.is_forming_due = false;
            self.pipeline.forming(out);
            if !out.is_empty() {
                self.formed_ms = now;
            }
        }
    }

    /// Cancels the requests that the pipeline no longer needs.
    pub(super) fn forget_requests(&mut self) {
        let pipeline = &self.pipeline;
        self.requests.retain(|(id, wanted)| {
            let is_wanted = pipeline.awaits(*id);
            if !is_wanted {
                wanted.store(false, Ordering::Relaxed);
            }
            is_wanted
        });
    }

    /// Cancels all requests: the symbol is handed on.
    pub(super) fn cancel_requests(&mut self) {
        for (_, wanted) in self.requests.drain(..) {
            wanted.store(false, Ordering::Relaxed);
        }
    }

    /// An output was handed on.
    pub(super) fn gave(&mut self, output: &Output) {
        // The first close of a bar needs no checkpoint: a restart does it again.
        if matches!(output, Output::Bar(bar) if bar.rev == 0) {
            self.checkpoints.closed();
        } else {
            self.checkpoints.changed();
        }
    }

    /// The state to save, if it has changed and the last checkpoint is old enough.
    pub(super) fn save(&mut self, now: UnixMillis) -> Option<Result<Checkpoint, Skipped>> {
        // A pipeline without trades has no state to continue from.
        if !self.checkpoints.take_due(now) || self.pipeline.next_id().is_none() {
            return None;
        }
        let state = self.pipeline.checkpoint();
        if state.is_none() {
            self.checkpoints.changed();
        }
        Some(state.ok_or(Skipped))
    }

    /// The last state, however new the one before is.
    pub(super) fn save_at_the_end(&mut self) -> Option<Result<Checkpoint, Skipped>> {
        self.checkpoints.changed();
        self.save(UnixMillis::MAX)
    }

    /// Trades or gaps are new.
    fn changed(&mut self) {
        self.checkpoints.changed();
        self.is_forming_due = true;
    }
}

#[cfg(test)]
mod tests;
