//! What the routes share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, Request};
use service::{AddressBudget, AddressGroups, Allowance, Network, client_ip};
use tokio::task::spawn_blocking;

use super::error::ApiError;
use crate::History;
use crate::config::{BURST_SECONDS, REQUESTS_PER_IP_DEFAULT};
use crate::reads::Reads;

/// What the routes share.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) history: History,
    addresses: Arc<AddressBudget>,
    trusted: Arc<[Network]>,
    /// Questions of a whole day take their turns.
    pub(super) completeness: Reads,
}

impl Api {
    /// The state of the routes of a history.
    pub(super) fn new(history: History) -> Self {
        let config = &history.api;
        let rate = config.history_requests_per_ip;
        let allowance = Allowance {
            per_second: rate.unwrap_or(REQUESTS_PER_IP_DEFAULT),
            burst: rate
                .unwrap_or(REQUESTS_PER_IP_DEFAULT)
                .saturating_mul(BURST_SECONDS),
            holds_for_loopback: rate.is_some(),
        };
        let groups = AddressGroups::new(config.history_ipv6_prefix_bits);
        let budget = AddressBudget::new(
            "requests",
            "history_unmetered_addresses_total",
            allowance,
            groups,
        );
        Self {
            addresses: Arc::new(budget),
            trusted: config.history_trusted_proxy.clone().into(),
            completeness: Reads::new(1, 8),
            history,
        }
    }

    /// Answers on a thread that may block, once there is a place for it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&History) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.history.reads.begin().await?;
        let history = self.history.clone();
        let task = spawn_blocking(move || {
            let _place = place;
            answer(&history)
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "an answer panicked");
            Err(ApiError::internal())
        })
    }

    /// Takes a request out of the budget of a client's address; false if there is none left.
    pub(super) fn admits(&self, client: IpAddr, now: Instant) -> bool {
        self.addresses.take(client, now)
    }

    /// The address of a request's client.
    pub(super) fn client(&self, request: &Request) -> Option<IpAddr> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
        let forwarded = request.headers().get_all("x-forwarded-for");
        let forwarded: Vec<&str> = forwarded
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        Some(client_ip(peer.0.ip(), forwarded.into_iter(), &self.trusted))
    }
}
