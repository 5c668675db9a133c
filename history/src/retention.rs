//! Deletes what is too old, and measures how much room the rest takes.

use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use service::Shutdown;
use service::wall_clock_ms;
use tracing::{debug, error, info};

use crate::error::{Error, PartEnd};
use crate::history::History;
use crate::keep::Keep;
use crate::store::StoreError;

/// Between two looks at what is too old.
const INTERVAL: Duration = Duration::from_secs(600);
/// Between two looks at how much room the files take.
const SIZE_INTERVAL: Duration = Duration::from_secs(5);

/// Deletes what is too old, at the start and then from time to time, until the shutdown.
pub(crate) async fn run(history: History, keep: Vec<Keep>, shutdown: Shutdown) -> PartEnd {
    let dropped_total = counter!("history_months_dropped_total");
    loop {
        // A clock that is ahead for a moment would delete what no venue gives again. The newest bar
        // is not ahead of the present, and old rows are as old beside it.
        let present_ms = history
            .index
            .newest_end_ms()
            .map(|end| end.min(wall_clock_ms()));
        for keep in &keep {
            let Some(before_ms) = present_ms.map(|present_ms| keep.since_ms(present_ms)) else {
                break;
            };
            let kind = keep.kind;
            let dropped = history
                .read(move |store| store.drop_before(kind, before_ms))
                .await;
            match dropped {
                Ok(0) => {}
                Ok(months) => {
                    dropped_total.increment(months as u64);
                    info!(kept = %keep, months, "old months are deleted");
                    let index = Arc::clone(&history.index);
                    let reloaded = history.read(move |store| index.reload(store)).await;
                    if let Err(error) = reloaded {
                        error!(%error, "the stored series cannot be listed");
                    }
                }
                Err(error) => {
                    error!(kept = %keep, %error, "old months cannot be deleted, trying again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.triggered() => return Ok(()),
        }
    }
}

/// Measures how much room the files take, until the shutdown.
pub(crate) async fn measure(history: History, shutdown: Shutdown) -> PartEnd {
    let bytes = gauge!("history_store_bytes");
    loop {
        let size = history.read(|store| store.bytes()).await;
        match size {
            Ok(size) => {
                history.store_health.set_answers(true);
                bytes.set(size as f64);
            }
            Err(error) => {
                if let Error::Store(error) = &error
                    && matches!(error, StoreError::Away { .. })
                {
                    history.store_health.set_answers(false);
                }
                debug!(%error, "the room of the store is unknown");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SIZE_INTERVAL) => {}
            () = shutdown.triggered() => return Ok(()),
        }
    }
}
