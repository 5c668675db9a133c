//! How the sessions are spread over the gateways of a fleet, as far as this gateway has heard, and
//! how many of its own are too many.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::fleet::report::GatewayReport;

/// Time between two reports of a gateway, and between two rounds of a rebalance.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A gateway that was silent for this time is not counted.
const REPORT_AGE_MAX: Duration = Duration::from_millis(3_500);
/// A rebalance that has not ended after this time is given up.
const REBALANCE_TIME_MAX: Duration = Duration::from_secs(600);
/// A rebalance ends after this many rounds in which no gateway had too many sessions.
const LEVEL_ROUNDS: u32 = 3;
/// Number of totals that are remembered: a session that moves between two gateways is in neither
/// report.
const TOTALS: usize = 3;
/// A rebalance is given up when the fleet has lost this share of its sessions plus this number.
const LOSS_PART: u64 = 10;
const LOSS_MIN: u64 = 20;
/// Gateways that are remembered.
const GATEWAYS_MAX: usize = 10_000;
/// A request to a gateway to reduce its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plan {
    goal: Goal,
    /// When it is given up.
    until: Instant,
    /// The fleet's sessions at the time of the request.
    total: u64,
}

/// The target number of a gateway's sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    /// As many as the others.
    Level,
    /// At most this number.
    AtMost(u64),
}

impl Plan {
    /// Whether the fleet has lost so many sessions that the closed clients cannot be on their way:
    /// then no more are closed.
    fn is_lossy(&self, total: u64) -> bool {
        let bearable = (self.total / LOSS_PART).saturating_add(LOSS_MIN);
        total < self.total.saturating_sub(bearable)
    }
}

/// The fleet as one gateway sees it.
#[derive(Debug)]
pub(crate) struct Fleet {
    own: GatewayReport,
    others: BTreeMap<String, (GatewayReport, Instant)>,
    plan: Option<Plan>,
    /// Totals of the last rounds.
    totals: VecDeque<u64>,
    level_rounds: u32,
}

impl Fleet {
    /// A fleet in which only this gateway is known.
    #[must_use]
    pub(crate) fn new(own: GatewayReport) -> Self {
        Self {
            own,
            others: BTreeMap::new(),
            plan: None,
            totals: VecDeque::new(),
            level_rounds: 0,
        }
    }

    /// This gateway's report.
    #[must_use]
    pub(crate) fn own(&self) -> &GatewayReport {
        &self.own
    }

    /// Records the number of this gateway's sessions.
    pub(crate) fn count(&mut self, sessions: u64) {
        self.own.sessions = sessions;
    }

    /// This gateway drains: the rebalance closes no more sessions.
    pub(crate) fn leave(&mut self) {
        self.own.is_leaving = true;
        self.end();
    }

    /// Records a gateway's report.
    pub(crate) fn heard(&mut self, report: GatewayReport, now: Instant) {
        if report.id == self.own.id {
            return;
        }
        if report.is_leaving {
            self.others.remove(&report.id);
        } else if self.others.len() < GATEWAYS_MAX || self.others.contains_key(&report.id) {
            self.others.insert(report.id.clone(), (report, now));
        }
    }

    /// The other gateways that reported recently, and when.
    pub(crate) fn others(&self) -> impl Iterator<Item = &(GatewayReport, Instant)> {
        self.others.values()
    }

    /// An operator asks for as many sessions as the others have.
    pub(crate) fn level(&mut self, now: Instant) {
        self.plan(Goal::Level, now);
    }

    /// An operator asks for at most this many sessions.
    pub(crate) fn at_most(&mut self, sessions: u64, now: Instant) {
        self.plan(Goal::AtMost(sessions), now);
    }

    fn plan(&mut self, goal: Goal, now: Instant) {
        self.level_rounds = 0;
        self.plan = Some(Plan {
            goal,
            until: now + REBALANCE_TIME_MAX,
            total: self.total(),
        });
        self.own.is_rebalancing = true;
    }

    fn end(&mut self) {
        self.plan = None;
        self.own.is_rebalancing = false;
    }

    /// An operator cancels all earlier requests.
    pub(crate) fn cancel(&mut self) {
        self.end();
    }

    /// The target number of this gateway's sessions, while a request is active.
    #[must_use]
    pub(crate) fn target(&self) -> Option<u64> {
        match self.plan?.goal {
            Goal::Level => Some(self.share()),
            Goal::AtMost(sessions) => Some(sessions),
        }
    }

    /// Sessions of all gateways, by their reports.
    pub(crate) fn total(&self) -> u64 {
        self.others()
            .map(|(report, _)| report.sessions)
            .fold(self.own.sessions, u64::saturating_add)
    }

    /// Each gateway's number if all have the same, rounded up.
    fn share(&self) -> u64 {
        let total = self.totals.iter().copied().chain([self.total()]).max();
        total.unwrap_or(0).div_ceil(self.others.len() as u64 + 1)
    }

    /// How far a gateway may exceed its share before it closes sessions: counts are a second old.
    fn slack(share: u64) -> u64 {
        (share / 50).max(2)
    }

    /// Runs once a round, and returns how many sessions are too many here.
    pub(crate) fn rebalance_step(&mut self, now: Instant) -> u64 {
        self.others
            .retain(|_, (_, heard_at)| now.saturating_duration_since(*heard_at) <= REPORT_AGE_MAX);
        self.totals.push_back(self.total());
        if self.totals.len() > TOTALS {
            self.totals.pop_front();
        }
        let Some(plan) = self.plan else {
            return 0;
        };
        if plan.is_lossy(self.total()) {
            self.end();
            return 0;
        }
        let (excess, is_done) = match plan.goal {
            Goal::AtMost(sessions) => {
                let excess = self.own.sessions.saturating_sub(sessions);
                (excess, excess == 0)
            }
            Goal::Level => {
                let share = self.share();
                let enough = share.saturating_add(Self::slack(share));
                // A gateway that has ended its part closes none: by its reports, which were other
                // ones than this gateway had, it has enough.
                let is_level = self.own.sessions <= enough
                    && self
                        .others()
                        .all(|(report, _)| report.sessions <= enough || !report.is_rebalancing);
                self.level_rounds = if is_level { self.level_rounds + 1 } else { 0 };
                let excess = match self.own.sessions > enough {
                    true => self.own.sessions - share,
                    false => 0,
                };
                (excess, self.level_rounds >= LEVEL_ROUNDS)
            }
        };
        if is_done || now >= plan.until {
            self.end();
        }
        excess
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(id: &str, sessions: u64) -> GatewayReport {
        GatewayReport {
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            sessions,
            is_leaving: false,
            is_rebalancing: false,
        }
    }

    fn fleet(sessions: u64, others: &[u64], now: Instant) -> Fleet {
        let mut fleet = Fleet::new(report("own", sessions));
        for (index, &sessions) in others.iter().enumerate() {
            fleet.heard(report(&index.to_string(), sessions), now);
        }
        fleet
    }

    #[test]
    fn nothing_is_shed_unasked_and_only_by_those_who_have_too_many() {
        let now = Instant::now();
        let mut full = fleet(500, &[500, 0], now);
        assert_eq!((full.rebalance_step(now), full.target()), (0, None));
        full.level(now);
        assert_eq!((full.rebalance_step(now), full.target()), (166, Some(334)));
        let mut empty = fleet(0, &[500, 500], now);
        empty.level(now);
        assert_eq!((empty.rebalance_step(now), empty.target()), (0, Some(334)));
    }

    #[test]
    fn gateways_that_are_gone_or_go_are_not_counted() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[100, 0], now);
        fleet.heard(
            GatewayReport {
                is_leaving: true,
                ..report("1", 0)
            },
            now,
        );
        fleet.level(now);
        assert_eq!(fleet.rebalance_step(now), 200);
        // It knows of no gateway to which sessions could go.
        for second in 4..8 {
            assert_eq!(fleet.rebalance_step(now + second * REPORT_INTERVAL), 0);
        }
    }

    #[test]
    fn sessions_between_two_gateways_do_not_lower_the_share() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[400, 0], now);
        fleet.level(now);
        assert_eq!(fleet.rebalance_step(now), 200);
        fleet.count(400);
        assert_eq!(fleet.rebalance_step(now), 100, "a hundred are on their way");
    }

    #[test]
    fn a_rebalance_ends_when_the_fleet_is_level_or_this_gateway_leaves() {
        let now = Instant::now();
        let mut level = fleet(334, &[333, 333], now);
        level.level(now);
        for _ in 0..LEVEL_ROUNDS {
            assert!(level.target().is_some());
            assert_eq!(level.rebalance_step(now), 0);
        }
        assert_eq!(level.target(), None);
        let mut leaving = fleet(500, &[0], now);
        leaving.level(now);
        leaving.leave();
        assert_eq!((leaving.rebalance_step(now), leaving.target()), (0, None));
    }

    #[test]
    fn a_gateway_that_has_ended_its_part_is_not_waited_for() {
        let now = Instant::now();
        let mut fleet = fleet(95, &[102, 103], now);
        fleet.level(now);
        let mut other = report("1", 103);
        for is_rebalancing in [true, false] {
            other.is_rebalancing = is_rebalancing;
            fleet.heard(other.clone(), now);
            for _ in 0..LEVEL_ROUNDS {
                assert!(fleet.own().is_rebalancing);
                assert_eq!(fleet.rebalance_step(now), 0);
            }
        }
        assert_eq!((fleet.target(), fleet.own().is_rebalancing), (None, false));
    }

    #[test]
    fn a_rebalance_is_given_up_when_those_sent_away_do_not_come_back() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[500, 0], now);
        fleet.level(now);
        assert!(fleet.rebalance_step(now) > 0);
        fleet.heard(report("0", 420), now);
        fleet.count(460);
        assert!(fleet.rebalance_step(now) > 0, "an eighth is on its way");
        fleet.count(450);
        assert_eq!((fleet.rebalance_step(now), fleet.target()), (0, None));
    }

    #[test]
    fn a_gateway_can_be_asked_for_a_number() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[], now);
        fleet.at_most(420, now);
        assert_eq!(fleet.rebalance_step(now), 80);
        fleet.count(420);
        assert_eq!((fleet.rebalance_step(now), fleet.target()), (0, None));
    }

    #[test]
    fn a_small_fleet_becomes_level_too() {
        let now = Instant::now();
        for sessions in 6..=40 {
            let mut fleet = fleet(sessions, &[0, 0], now);
            fleet.level(now);
            let share = sessions.div_ceil(3);
            assert_eq!(fleet.rebalance_step(now), sessions - share, "{sessions}");
        }
    }

    #[test]
    fn a_number_that_clients_do_not_let_a_gateway_have_is_given_up_after_a_while() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[500], now);
        fleet.at_most(0, now);
        // Every closed client comes back.
        for second in 0..REBALANCE_TIME_MAX.as_secs() as u32 {
            let now = now + second * REPORT_INTERVAL;
            fleet.heard(report("0", 500), now);
            assert_eq!((fleet.rebalance_step(now), fleet.target()), (500, Some(0)));
        }
        let _ = fleet.rebalance_step(now + REBALANCE_TIME_MAX);
        assert_eq!(fleet.target(), None);
    }

    #[test]
    fn a_number_is_given_up_when_those_sent_away_do_not_come_back() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[500], now);
        fleet.at_most(0, now);
        fleet.count(390);
        assert_eq!(fleet.rebalance_step(now), 390);
        fleet.count(370);
        assert_eq!((fleet.rebalance_step(now), fleet.target()), (0, None));
    }

    #[test]
    fn what_a_gateway_was_asked_can_be_taken_back() {
        let now = Instant::now();
        let mut fleet = fleet(500, &[0], now);
        fleet.level(now);
        fleet.cancel();
        assert_eq!((fleet.rebalance_step(now), fleet.target()), (0, None));
    }

    proptest! {
        /// Wherever the clients that are shed go, in the end all gateways have about as many, and
        /// none of them waits for another one, though their reports are of different rounds.
        #[test]
        fn a_fleet_becomes_level(
            sessions in proptest::collection::vec(0u64..3_000, 2..6),
            rate in 20u64..300,
            goes_anywhere in any::<bool>(),
            mut seed in any::<u64>(),
        ) {
            let start = Instant::now();
            let mut counts = sessions.clone();
            let total: u64 = counts.iter().sum();
            // So few that none takes those on their way for lost.
            let rate = rate.min((total / LOSS_PART + LOSS_MIN) / (2 * counts.len() as u64));
            let mut fleets: Vec<Fleet> = (0..counts.len())
                .map(|index| Fleet::new(report(&index.to_string(), 0)))
                .collect();
            let mut reports: Vec<GatewayReport> = counts
                .iter()
                .enumerate()
                .map(|(index, &count)| report(&index.to_string(), count))
                .collect();
            for round in 0..590u32 {
                let now = start + round * REPORT_INTERVAL;
                let mut shed = 0;
                for (index, fleet) in fleets.iter_mut().enumerate() {
                    fleet.count(counts[index]);
                    reports[index] = fleet.own().clone();
                    for report in &reports {
                        fleet.heard(report.clone(), now);
                    }
                    if round == 0 {
                        fleet.level(now);
                    }
                    let excess = fleet.rebalance_step(now).min(rate);
                    counts[index] -= excess;
                    shed += excess;
                }
                for _ in 0..shed {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // A balancer that has just been reloaded does not know who has how many.
                    let index = if goes_anywhere {
                        (seed >> 33) as usize % counts.len()
                    } else {
                        (0..counts.len()).min_by_key(|&index| counts[index]).unwrap_or(0)
                    };
                    counts[index] += 1;
                }
            }
            for fleet in &fleets {
                prop_assert_eq!(fleet.target(), None);
            }
            // Reports of different rounds count those who moved in between twice.
            let share = (total + total / (2 * LOSS_PART) + LOSS_MIN).div_ceil(counts.len() as u64);
            prop_assert_eq!(counts.iter().sum::<u64>(), total);
            for &count in &counts {
                prop_assert!(count <= share + Fleet::slack(share), "{:?} of {:?}", counts, sessions);
            }
        }
    }
}
