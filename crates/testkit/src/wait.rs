//! Waiting on a condition.

use std::time::{Duration, Instant};

/// Everything that is waited for has to happen within this: far more than it takes, for machines
/// are slow and shared.
pub const DEADLINE: Duration = Duration::from_secs(90);

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks until there is a value, and returns it.
///
/// # Panics
/// After [`DEADLINE`], with what the last look had to say.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    until_within(DEADLINE, what, look).await
}

/// As [`until`], with a deadline of its own.
///
/// # Panics
/// After the deadline.
pub async fn until_within<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(why) if started.elapsed() > deadline => panic!("never came: {what}; last: {why}"),
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// `Ok` where the condition holds: for [`until`].
///
/// # Errors
/// What `otherwise` says.
pub fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}
