//! Asks the venues over REST. The clients outlive a plan, so that a new plan has no new budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backfill::client::RestClient;
use crate::config::Config;
use crate::exchange::{Endpoints, Exchange};
use crate::feed::dial::{CaFileError, VenueTls};

/// See the module.
pub(super) struct VenueClients {
    tls: VenueTls,
    timeout: Duration,
    /// By the venue's name.
    clients: Mutex<HashMap<&'static str, Arc<RestClient>>>,
}

impl VenueClients {
    /// The clients of a configuration.
    ///
    /// # Errors
    /// The file of certificates cannot be used.
    pub(super) fn new(config: &Config) -> Result<Self, CaFileError> {
        Ok(Self {
            tls: VenueTls::with_file(config.venue_ca_file.as_deref())?,
            timeout: Duration::from_millis(config.rest_timeout_ms.into()),
            clients: Mutex::new(HashMap::new()),
        })
    }

    /// What sockets trust.
    pub(super) fn tls(&self) -> &VenueTls {
        &self.tls
    }

    /// The client of a venue, always the same one.
    pub(super) fn of(
        &self,
        exchange: &'static dyn Exchange,
        endpoints: &Endpoints,
    ) -> Arc<RestClient> {
        let mut clients = self.clients.lock().expect("no holder panics");
        let client = clients.entry(exchange.name()).or_insert_with(|| {
            let client = RestClient::new(exchange, endpoints.rest.clone(), self.timeout, &self.tls);
            Arc::new(client)
        });
        Arc::clone(client)
    }
}
