//! The program: its parts run until it is told to stop or one of them ends.

mod assembly;
mod drain;
mod feeds;

use std::sync::Arc;

use bus::{Bus, BusError};
use service::Service;
use tracing::error;

use self::assembly::assemble;
use crate::config::{Config, ConfigError};
use crate::feed::dial::CaFileError;
use crate::ownership::control::Control;
use crate::parts::PartEnded;

/// Why the program could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used; the text says what to write.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of certificates cannot be used; the text says what to write.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The bus cannot be used.
    #[error("failed to read checkpoints from the bus: {0}")]
    Bus(#[from] BusError),
    /// The bus does not keep the journal as it is configured.
    #[error(
        "the bus cannot keep the journal of closed bars: {0}; give it room, or set --journal-bytes-max lower, 0 for no journal"
    )]
    Journal(#[source] BusError),
    /// A part of the program ended by itself.
    #[error(transparent)]
    Part(#[from] PartEnded),
}

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
