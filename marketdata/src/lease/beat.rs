//! The message by which a program says that it lives.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use market_core::{UnixMillis, subject};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::host_clock::now_ms;

/// Beats within the silence after which a program counts as gone.
pub(crate) const BEATS_IN_SILENCE: u32 = 5;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beat {
    /// The program's name on the bus.
    pub(crate) instance: String,
    /// When it was sent, by the sender's clock: a program that hears itself learns how long ago it
    /// could still be heard.
    pub(crate) sent_ms: UnixMillis,
    /// Whether it takes leases that are free: not while it stops.
    pub(crate) takes: bool,
}

/// Beats until `stop`. A task of its own: nothing else makes it late.
pub(crate) async fn beat(
    bus: Arc<dyn Bus>,
    instance: String,
    silence: Duration,
    leaving: CancellationToken,
    stop: CancellationToken,
) {
    let mut ticks = interval(silence / BEATS_IN_SILENCE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let beat = Beat {
            instance: instance.clone(),
            sent_ms: now_ms(),
            takes: !leaving.is_cancelled(),
        };
        let payload = serde_json::to_vec(&beat).expect("plain fields");
        // A beat that does not go out is silence, which we hear ourselves.
        let _ = bus.publish(subject::BEATS, payload.into()).await;
    }
}
