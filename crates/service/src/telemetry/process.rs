//! What the kernel reports about this process: memory, descriptors, processor time.

use std::fmt::Write;
use std::fs;

/// Kernel ticks a second in `/proc/self/stat`: 100 on every Linux that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends `process_*` in the Prometheus text format. A figure that the system does not have (no
/// `/proc`) is left out.
pub(crate) fn append_metrics(text: &mut String) {
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory size in bytes";
        append(
            text,
            "process_resident_memory_bytes",
            help,
            "gauge",
            bytes as f64,
        );
    }
    if let Some(count) = open_descriptors() {
        let help = "Number of open file descriptors";
        append(text, "process_open_fds", help, "gauge", count as f64);
    }
    if let Some(seconds) = processor_seconds() {
        let help = "Total user and system processor time in seconds";
        append(text, "process_cpu_seconds_total", help, "counter", seconds);
    }
}

fn append(text: &mut String, name: &str, help: &str, kind: &str, value: f64) {
    writeln!(
        text,
        "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
    )
    .expect("writing to a string works");
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_descriptors() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses, which may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user_ticks: u64 = fields.get(11)?.parse().ok()?;
    let kernel_ticks: u64 = fields.get(12)?.parse().ok()?;
    Some((user_ticks + kernel_ticks) as f64 / TICKS_PER_SECOND)
}
