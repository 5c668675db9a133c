//! Starts what takes leases and holds them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::lease::beat::beat;
use crate::lease::command::Leases;
use crate::lease::parts::LeaseParts;
use crate::lease::task::LeaseTask;
use crate::parts::Part;

/// The running tasks, how to ask them, and what stops them.
pub(super) fn start(parts: LeaseParts) -> (Part, Leases, CancellationToken) {
    let releasing = CancellationToken::new();
    let mut leasing = Part::new("lease");
    let (leases, commands) = Leases::new();
    leasing.spawn(beat(
        Arc::clone(&parts.bus),
        parts.me.clone(),
        parts.silence,
        parts.leaving.clone(),
        releasing.clone(),
    ));
    leasing.spawn(LeaseTask::new(parts).run(commands, releasing.clone()));
    (leasing, leases, releasing)
}
