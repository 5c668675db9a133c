//! The program: its parts run until it is told to stop or one of them ends.

mod assembly;
mod clients;
mod drain;
mod error;
mod feeds;
mod inputs;
mod leases;

use std::sync::Arc;

use bus::Bus;
use service::Service;
use tracing::error;

pub use self::error::Error;

use self::assembly::assemble;
use self::clients::VenueClients;
use self::inputs::{Conditions, Inputs};
use crate::config::Config;
use crate::discovery::{Discovery, Found};
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
    // Before anything is asked of the network: a wrong flag is told at once.
    config.plan()?;
    let clients = VenueClients::new(&config)?;
    let conditions = Conditions::new(&service);
    let has_patterns = config.patterns().next().is_some();
    let mut discovery = Discovery::new(&config, &bus, |exchange| {
        clients.of(exchange, &config.endpoints_of(exchange))
    });
    loop {
        let found = if has_patterns {
            discovery.find(&control, &service.shutdown).await
        } else {
            Found::named(&config)
        };
        if service.shutdown.is_triggered() && found.instruments.is_empty() {
            return Ok(());
        }
        let planned = found.instruments.iter().map(ToString::to_string).collect();
        let inputs = Inputs {
            config: &config,
            found,
            clients: &clients,
            conditions: conditions.clone(),
        };
        let mut running = assemble(inputs, &bus, &service, control.clone()).await?;
        let is_replanned = tokio::select! {
            biased;
            () = service.shutdown.triggered() => false,
            ended = running.first_end() => {
                error!(part = ended.part, how = ended.how, "a part of the program ended too early, so the program ends");
                return Err(ended.into());
            }
            () = discovery.follow(&control, &planned) => true,
        };
        running
            .drain(&*bus, service.shutdown.drain_deadline())
            .await?;
        if !is_replanned || service.shutdown.is_triggered() {
            return Ok(());
        }
    }
}
