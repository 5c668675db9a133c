//! The help text of every metric of the simulator.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "exchange_sim_closed_clients_total",
        "Clients whose connection was closed, by reason",
    ),
    (
        "exchange_sim_connections_refused_total",
        "Connections that were refused",
    ),
    ("exchange_sim_frames_total", "Frames sent"),
    ("exchange_sim_requests_total", "HTTP requests, by path"),
    (
        "exchange_sim_slow_clients_total",
        "Clients that were cut because they read too slowly",
    ),
    ("exchange_sim_trades_total", "Trades made"),
];

const GAUGES: &[NameAndHelp] = &[("exchange_sim_connections", "Connections of clients now")];

const HISTOGRAMS: &[NameAndHelp] = &[(
    "exchange_sim_tick_seconds",
    "Time that a tick of the engine took",
)];

/// Describes the metrics. Call it after the recorder is installed.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
