//! The program: its parts run until it is told to stop or one of them ends.

mod assembly;
mod drain;
mod error;
mod feeds;
mod leases;

use std::sync::Arc;

use bus::Bus;
use service::Service;
use tracing::error;

pub use self::error::Error;

use self::assembly::assemble;
use crate::config::Config;
use crate::ownership::control::Control;

/// Runs marketdata until `service.shutdown`, and drains.
///
/// # Errors
/// `Config` or `Bus`, both before anything was started; `Part` at once when a part of the program
/// panics or ends.
pub async fn run(config: Config, bus: Arc<dyn Bus>, service: Service) -> Result<(), Error> {
    run_controlled(config, bus, service, Control::default()).await
}

/// As [`run`], with instruments that `control` assigns to it and revokes.
///
/// # Errors
/// As [`run`].
pub async fn run_controlled(
    config: Config,
    bus: Arc<dyn Bus>,
    service: Service,
    control: Control,
) -> Result<(), Error> {
    // Boxed: it is a long future, and runs once.
    Box::pin(run_parts(config, bus, service, control)).await
}

async fn run_parts(
    config: Config,
    bus: Arc<dyn Bus>,
    service: Service,
    control: Control,
) -> Result<(), Error> {
    crate::metric_help::describe();
    let mut running = assemble(&config, &bus, &service, control).await?;
    tokio::select! {
        biased;
        () = service.shutdown.triggered() => {}
        ended = running.first_end() => {
            error!(part = ended.part, how = ended.how, "a part of the program ended too early, so the program ends");
            return Err(ended.into());
        }
    }
    Ok(running
        .drain(&*bus, service.shutdown.drain_deadline())
        .await?)
}
