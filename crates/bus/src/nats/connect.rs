//! The first connection: retried until a deadline, and refused with what to check.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};
use tokio::time::Instant;
use tracing::warn;

use super::link::Link;
use crate::address::{Credentials, NatsServers};
use crate::log_limit::LogLimit;
use crate::{BusConfig, BusError};

/// A server that answers no ping during two of these intervals counts as dead at the third ping: after
/// 3 to 4.5 s. A server that stands still keeps its connections, so nothing else tells.
const PING_INTERVAL: Duration = Duration::from_millis(1_500);
/// How long one attempt may take.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
const RETRY_DELAY: Duration = Duration::from_millis(200);
const RETRY_LOG_INTERVAL: Duration = Duration::from_secs(5);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// Messages that wait between the connection and a pump. The pump empties it at once; it holds
/// messages that arrive while the pump's thread is busy.
const CLIENT_QUEUE_LEN_MAX: usize = 65_536;

pub(super) async fn connect(
    servers: &NatsServers,
    config: &BusConfig,
    link: &Arc<Link>,
    deadline: Instant,
) -> Result<Client, BusError> {
    if let Some(file) = &config.bus_ca_file
        && let Err(error) = std::fs::metadata(file)
    {
        return Err(BusError::Config {
            reason: format!("failed to read the bus ca file {}: {error}", file.display()),
        });
    }
    let retry_log = LogLimit::new(RETRY_LOG_INTERVAL);
    loop {
        let options = options(servers, config, link);
        // One attempt tries every server; the deadline applies to all of them together.
        let attempt = options.connect(servers.addresses.clone());
        let reason = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => reason(servers, &error)?,
            Err(_) => "no answer",
        };
        let retry_at = Instant::now() + RETRY_DELAY;
        if retry_at >= deadline {
            return Err(BusError::Unreachable {
                servers: servers.display(),
                waited_ms: config.bus_connect_deadline_ms,
                reason,
            });
        }
        if retry_log.pass(std::time::Instant::now(), 1).is_some() {
            warn!(
                servers = servers.display(),
                reason, "nats not reached, retrying"
            );
        }
        tokio::time::sleep_until(retry_at).await;
    }
}

fn options(servers: &NatsServers, config: &BusConfig, link: &Arc<Link>) -> ConnectOptions {
    let link = Arc::clone(link);
    let mut options = ConnectOptions::new()
        .name("klinecast")
        .ping_interval(PING_INTERVAL)
        .connection_timeout(ATTEMPT_DEADLINE)
        .request_timeout(Some(config.request_deadline()))
        .subscription_capacity(CLIENT_QUEUE_LEN_MAX)
        // Ours are checked already.
        .skip_subject_validation(true)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            let link = Arc::clone(&link);
            async move { link.on_event(&event) }
        });
    match &servers.credentials {
        Credentials::None => {}
        Credentials::UserPassword { user, password } => {
            options = options.user_and_password(user.clone(), password.clone());
            if let Some(prefix) = inbox_prefix(user) {
                options = options.custom_inbox_prefix(prefix);
            }
        }
        Credentials::Token(token) => options = options.token(token.clone()),
    }
    if let Some(file) = &config.bus_ca_file {
        options = options.add_root_certificates(file.clone());
    }
    options
}

/// Where a user gets answers: below a subject of its own, so that its permissions need not include
/// the answers to others. `None` for a name that cannot be part of a subject.
fn inbox_prefix(user: &str) -> Option<String> {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    let is_name = !user.is_empty() && user.chars().all(is_plain);
    is_name.then(|| format!("_INBOX.{user}"))
}

/// At once, then 10 ms doubling to a second, of which half is random: the programs of a fleet that
/// lost a server reconnect at different times.
fn reconnect_delay(attempts: usize) -> Duration {
    let Some(exponent) = attempts.checked_sub(2) else {
        return Duration::ZERO;
    };
    let exponent = u32::try_from(exponent.min(10)).expect("at most 10");
    let delay = RECONNECT_DELAY_MAX.min(Duration::from_millis(10 << exponent));
    let random_per_mille = RandomState::new().hash_one(attempts) % 500;
    let per_mille = 500 + u32::try_from(random_per_mille).expect("below 500");
    delay * per_mille / 1_000
}

/// A retryable failure returns its reason, others an error. The client library's own text is not
/// passed on: it may contain credentials.
fn reason(servers: &NatsServers, error: &ConnectError) -> Result<&'static str, BusError> {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Err(BusError::Unauthorized {
                servers: servers.display(),
            })
        }
        ConnectErrorKind::ServerParse => Err(BusError::Config {
            reason: "invalid bus address: nats:// and tls:// only".to_owned(),
        }),
        ConnectErrorKind::Dns => Ok("the host name cannot be resolved"),
        ConnectErrorKind::TimedOut => Ok("no answer"),
        ConnectErrorKind::Tls => Ok("tls failed"),
        ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => Ok(io_reason(error)),
    }
}

fn io_reason(error: &ConnectError) -> &'static str {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return match cause.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused",
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                    "the connection was closed before the login; is it a nats server"
                }
                io::ErrorKind::InvalidData => "tls failed, or it is not a nats server",
                _ => "the connection failed",
            };
        }
        source = cause.source();
    }
    "the connection failed"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_answers_below_its_name_if_that_is_one_token() {
        assert_eq!(
            inbox_prefix("gate-way_1").as_deref(),
            Some("_INBOX.gate-way_1")
        );
        for user in ["", "a.b", "a b", "*", ">", "ü"] {
            assert_eq!(inbox_prefix(user), None, "{user}");
        }
    }

    #[test]
    fn reconnects_start_at_once_and_stay_below_the_bound() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempts in 2..200 {
            let delay = reconnect_delay(attempts);
            assert!(delay >= Duration::from_millis(5), "{delay:?}");
            assert!(delay <= RECONNECT_DELAY_MAX, "{delay:?}");
        }
        assert!(reconnect_delay(100) >= RECONNECT_DELAY_MAX / 2);
    }
}
