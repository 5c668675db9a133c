//! What is wrong with the server, in words.

use crate::config::Config;
use crate::monitor::Health;
use crate::snapshot::Snapshot;

/// Everything that keeps messages from being published or stored; empty if nothing does.
pub(crate) fn problems(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    if !snapshot.is_connected {
        problems.push("no connection to nats-server".to_owned());
        return problems;
    }
    match &snapshot.health {
        Health::Good => {}
        Health::Bad(reason) => problems.push(format!(
            "nats-server is unhealthy: {reason}; if its disk was full, free space and POST /api/v1/nats/restart"
        )),
        // A server that others started may have no monitoring page for us.
        Health::Silent if !config.auto_start_nats => {}
        Health::Silent => problems.push("nats-server's monitoring page does not answer".to_owned()),
    }
    match &snapshot.streams {
        Err(error) => problems.push(error.to_string()),
        Ok(streams) if config.auto_create_streams => {
            let is_there =
                |name: &&String| !streams.iter().any(|stream| stream["name"] == name.as_str());
            let missing: Vec<&str> = config
                .streams
                .keys()
                .filter(is_there)
                .map(String::as_str)
                .collect();
            if !missing.is_empty() && snapshot.streams_left_off == 0 {
                problems.push(format!("streams are missing: {}", missing.join(", ")));
            }
        }
        Ok(_) => {}
    }
    problems
}
