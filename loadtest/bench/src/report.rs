//! Tables.

use std::fmt::Write as _;

use crate::measure::{Outcome, Result, Row, Times};
use crate::process::Cpu;
use crate::server::Server;
use crate::workload::{Name, Workload};

fn title(workload: &Workload) -> String {
    let Workload {
        name,
        connections,
        topics,
        universe,
        rate,
        seconds,
    } = workload;
    let what = match name {
        Name::Shared => {
            format!("Shared: {connections} clients on the same {topics} topics, one after another")
        }
        Name::Random => {
            format!("Random: {connections} clients, each on {topics} of {universe} topics")
        }
        Name::Burst => format!(
            "Burst: {connections} clients on the same {topics} topics, which change all at once"
        ),
        Name::Trickle => format!("Trickle: {connections} clients on the same {topics} topics"),
        Name::Nonreaders => format!(
            "Non-readers: {connections} clients on the same {topics} topics, 1 % never read"
        ),
        Name::Storm => format!(
            "Storm: {connections} clients on the same {topics} topics all reconnect within 5 s"
        ),
        Name::Books => format!(
            "Books: {connections} clients on the same {topics} order books, one after another"
        ),
    };
    format!("{what}; {rate} updates/s a topic, {seconds} s")
}

/// A number with three significant digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn maybe(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short)
}

fn per_update(outcome: &Outcome) -> Option<f64> {
    outcome.cpu().per_million(outcome.updates).map(Cpu::total_s)
}

/// A result divided by the floor's.
fn over_floor(
    rows: &[Row],
    outcome: &Outcome,
    value: impl Fn(&Outcome) -> Option<f64>,
) -> Option<f64> {
    let floor = rows
        .iter()
        .find_map(|row| match (&row.result, row.server) {
            (Result::Measured(floor), Server::Floor) => value(floor),
            _ => None,
        })?;
    Some(value(outcome)? / floor)
}

/// Median, p99, p99.9 and the longest, ms.
pub(crate) fn times(times: Option<Times>) -> String {
    times.map_or_else(
        || "–".to_owned(),
        |times| {
            format!(
                "{} / {} / {} / {}",
                short(times.p50_ms),
                short(times.p99_ms),
                short(times.p999_ms),
                short(times.max_ms)
            )
        },
    )
}

fn two_times(times: Option<Times>) -> String {
    times.map_or_else(
        || "–".to_owned(),
        |times| format!("{} / {}", short(times.p50_ms), short(times.p99_ms)),
    )
}

/// The table of one workload.
pub(crate) fn table(workload: &Workload, rows: &[Row]) -> String {
    let mut text = format!("### {}\n\n", title(workload));
    text += "| server | delivered | CPU s/M updates (user + system) | × floor | CPU s/M frames | updates/frame | RSS KiB/conn | latency ms p50 / p99 / p99.9 / max | × floor p99 | connect ms p50 / p99 | first data ms p50 / p99 |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|\n";
    let mut notes = Vec::new();
    for row in rows {
        let label = row.server.label();
        let outcome = match &row.result {
            Result::Measured(outcome) => outcome,
            Result::Missing(why) => {
                let _ = writeln!(text, "| {label} | {why} | | | | | | | | | |");
                continue;
            }
        };
        let cpu = outcome.cpu().per_million(outcome.updates).map_or_else(
            || "–".to_owned(),
            |cpu| {
                format!(
                    "{} ({} + {})",
                    short(cpu.total_s()),
                    short(cpu.user_s),
                    short(cpu.system_s)
                )
            },
        );
        let delivered = match outcome.expected {
            0 => outcome.updates.to_string(),
            expected => format!(
                "{:.1} % of {expected}",
                100.0 * outcome.updates as f64 / expected as f64
            ),
        };
        let per_frame =
            (outcome.frames > 0).then(|| outcome.updates as f64 / outcome.frames as f64);
        let p99 = |outcome: &Outcome| outcome.latency.map(|times| times.p99_ms);
        let _ = writeln!(
            text,
            "| {label} | {delivered} | {cpu} | {} | {} | {} | {} | {} | {} | {} | {} |",
            maybe(over_floor(rows, outcome, per_update)),
            maybe(outcome.cpu().per_million(outcome.frames).map(Cpu::total_s)),
            maybe(per_frame),
            maybe(outcome.rss_per_connection().map(|bytes| bytes / 1_024.0)),
            times(outcome.latency),
            maybe(over_floor(rows, outcome, p99)),
            two_times(outcome.handshake),
            two_times(outcome.first_data),
        );
        notes.extend(remarks(row.server, workload, outcome));
    }
    if !notes.is_empty() {
        text.push('\n');
        for note in notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text.push('\n');
    text
}

/// Notes beside the table.
fn remarks(server: Server, workload: &Workload, outcome: &Outcome) -> Vec<String> {
    let label = server.label();
    let mut notes = Vec::new();
    if outcome.open.0 < workload.connections {
        notes.push(format!("{label}: only {} clients came in", outcome.open.0));
    }
    if outcome.open.1 < outcome.open.0 {
        notes.push(format!(
            "{label}: {} clients were open at the end",
            outcome.open.1
        ));
    }
    if !outcome.closed.is_empty() {
        let codes: Vec<String> = outcome
            .closed
            .iter()
            .map(|(code, count)| format!("{count} with {code}"))
            .collect();
        notes.push(format!(
            "{label}: ended by the server: {}",
            codes.join(", ")
        ));
    }
    if outcome.failed > 0 {
        notes.push(format!(
            "{label}: {} failed attempts to connect",
            outcome.failed
        ));
    }
    if workload.name == Name::Nonreaders {
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        notes.push(format!(
            "{label}: RSS {} MiB idle, {} MiB at the end",
            short(mib(outcome.rss_idle_bytes)),
            short(mib(outcome.rss_end_bytes))
        ));
    }
    if workload.name == Name::Storm
        && let Some(times) = outcome.first_data
    {
        notes.push(format!(
            "{label}: all had data within {} ms of connecting; CPU {} s for the whole storm",
            short(times.max_ms),
            short(outcome.cpu().total_s())
        ));
    }
    if outcome.publisher_late_ms > 50.0 {
        notes.push(format!(
            "{label}: the publisher was late by {} ms",
            short(outcome.publisher_late_ms)
        ));
    }
    notes
}

/// The cost of idle connections and of the processes beside the server.
pub(crate) fn beside(results: &[(Workload, Vec<Row>)]) -> String {
    let mut text = "### Beside the servers\n\n| workload | server | idle CPU µs/conn/s | RSS MiB base, idle | server CPU s | nats-server CPU s | load client CPU s | MB to clients | updates/read | others' CPU, cores |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for (workload, rows) in results {
        for row in rows {
            let Result::Measured(outcome) = &row.result else {
                continue;
            };
            let mib = |bytes: u64| short(bytes as f64 / 1_048_576.0);
            let _ = writeln!(
                text,
                "| {:?} | {} | {} | {}, {} | {} | {} | {} | {} | {} | {} |",
                workload.name,
                row.server.label(),
                maybe(outcome.idle_cpu_us),
                mib(outcome.rss_base_bytes),
                mib(outcome.rss_idle_bytes),
                short(outcome.cpu().total_s()),
                short(outcome.bus_cpu_s),
                short(outcome.client_cpu_s),
                short(outcome.bytes as f64 / 1e6),
                maybe((outcome.reads > 0).then(|| outcome.updates as f64 / outcome.reads as f64)),
                short(outcome.foreign_cores),
            );
        }
    }
    text.push('\n');
    text
}

/// A target and the result.
struct Target {
    what: &'static str,
    limit: f64,
    reached: Option<f64>,
}

/// ws-gateway's targets.
pub(crate) fn targets(results: &[(Workload, Vec<Row>)]) -> String {
    let gateway = |name: Name, value: &dyn Fn(&[Row], &Outcome) -> Option<f64>| {
        let (_, rows) = results.iter().find(|(workload, _)| workload.name == name)?;
        rows.iter().find_map(|row| match (&row.result, row.server) {
            (Result::Measured(outcome), Server::Gateway) => value(rows, outcome),
            _ => None,
        })
    };
    let cheapest_peer = |rows: &[Row], outcome: &Outcome| {
        let peers = rows
            .iter()
            .filter_map(|row| match (&row.result, row.server) {
                (Result::Measured(peer), Server::Nats | Server::Axum | Server::Uws) => {
                    per_update(peer)
                }
                _ => None,
            });
        Some(per_update(outcome)? / peers.reduce(f64::min)?)
    };
    let cpu = |rows: &[Row], outcome: &Outcome| over_floor(rows, outcome, per_update);
    let p99 = |rows: &[Row], outcome: &Outcome| {
        over_floor(rows, outcome, |outcome| {
            outcome.latency.map(|times| times.p99_ms)
        })
    };
    let rss =
        |_: &[Row], outcome: &Outcome| outcome.rss_per_connection().map(|bytes| bytes / 1_024.0);
    let all = [
        Target {
            what: "CPU of an update, shared, × floor",
            limit: 1.5,
            reached: gateway(Name::Shared, &cpu),
        },
        Target {
            what: "CPU of an update, burst, × floor",
            limit: 1.5,
            reached: gateway(Name::Burst, &cpu),
        },
        Target {
            what: "CPU of an update, random, × floor",
            limit: 2.0,
            reached: gateway(Name::Random, &cpu),
        },
        Target {
            what: "CPU of an update, shared, × cheapest peer",
            limit: 1.0,
            reached: gateway(Name::Shared, &cheapest_peer),
        },
        Target {
            what: "CPU of an update, random, × cheapest peer",
            limit: 1.0,
            reached: gateway(Name::Random, &cheapest_peer),
        },
        Target {
            what: "RSS of an idle connection, shared, KiB",
            limit: 8.0,
            reached: gateway(Name::Shared, &rss),
        },
        Target {
            what: "RSS of an idle connection, random, KiB",
            limit: 8.0,
            reached: gateway(Name::Random, &rss),
        },
        Target {
            what: "p99 latency, burst, × floor",
            limit: 1.3,
            reached: gateway(Name::Burst, &p99),
        },
        Target {
            what: "p99 latency, trickle, ms (10 beyond the linger of 5)",
            limit: 15.0,
            reached: gateway(Name::Trickle, &|_, outcome| {
                outcome.latency.map(|times| times.p99_ms)
            }),
        },
        Target {
            what: "idle CPU, µs/connection/s",
            limit: 5.0,
            reached: gateway(Name::Shared, &|_, outcome| outcome.idle_cpu_us),
        },
    ];
    let mut text =
        "### Targets of ws-gateway\n\n| target | at most | reached | |\n|---|---|---|---|\n"
            .to_owned();
    for target in all {
        let verdict = match target.reached {
            Some(reached) if reached <= target.limit => "met",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {verdict} |",
            target.what,
            target.limit,
            maybe(target.reached)
        );
    }
    text.push('\n');
    text
}
