//! Processes: start them, measure them from outside, and end them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// The kernel's unit of time: USER_HZ is 100 on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process with all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    /// In the program, s.
    pub(crate) user_s: f64,
    /// In the kernel for it, s.
    pub(crate) system_s: f64,
}

impl Cpu {
    /// Both.
    pub(crate) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }

    /// The time used since then.
    pub(crate) fn since(self, before: Cpu) -> Cpu {
        Cpu {
            user_s: self.user_s - before.user_s,
            system_s: self.system_s - before.system_s,
        }
    }

    /// Seconds for each million.
    pub(crate) fn per_million(self, count: u64) -> Option<Cpu> {
        let millions = count as f64 / 1e6;
        (count > 0).then(|| Cpu {
            user_s: self.user_s / millions,
            system_s: self.system_s / millions,
        })
    }
}

/// Reads `/proc/PID/stat`. The program's name is in brackets and may contain any character.
fn parse_stat(stat: &str) -> Option<Cpu> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // After the name comes field 3; utime is field 14, stime field 15.
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(Cpu {
        user_s: user / TICKS_PER_SECOND,
        system_s: system / TICKS_PER_SECOND,
    })
}

fn parse_rss_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// CPU time of a process so far.
pub(crate) fn cpu(process_id: u32) -> anyhow::Result<Cpu> {
    let path = format!("/proc/{process_id}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    parse_stat(&stat).with_context(|| format!("failed to understand {path}"))
}

/// CPU time of a process's living threads, s, to the nanosecond: for times too short for `stat`.
pub(crate) fn fine_cpu_s(process_id: u32) -> Option<f64> {
    let mut total_ns: u64 = 0;
    for task in std::fs::read_dir(format!("/proc/{process_id}/task")).ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        total_ns += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(total_ns as f64 / 1e9)
}

/// CPU time that all processes of the machine together have used so far, s.
pub(crate) fn machine_cpu_s() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("failed to read /proc/stat")?;
    parse_machine_cpu_s(&stat).context("failed to understand /proc/stat")
}

fn parse_machine_cpu_s(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else {
        return None;
    };
    Some((user + nice + system + irq + softirq) / TICKS_PER_SECOND)
}

/// Resident memory of a process.
pub(crate) fn rss_bytes(process_id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process_id}/status");
    let status =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    parse_rss_bytes(&status).with_context(|| format!("no VmRSS in {path}"))
}

/// How many files a process may open: the limit of this process, which the others inherit.
pub(crate) fn open_files_max() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A child process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    pub(crate) child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; its stderr goes to `NAME.log` in the folder.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        folder: &Path,
    ) -> anyhow::Result<Program> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let child = command
            .stderr(file)
            .spawn()
            .with_context(|| format!("failed to start {name}: {:?}", command.get_program()))?;
        Ok(Program {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of its log if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(5)..].join("\n");
            anyhow::bail!("{} ended with {status}: {end}", self.name);
        }
        Ok(())
    }

    /// Returns when the condition holds.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut is_met: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_met() {
            self.check()?;
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} is not {what} after 20 s",
                self.name
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of our programs, with its stdin and stdout as pipes.
pub(crate) fn own_program(subcommand: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    Ok(command)
}

/// The program with that name beside this one, or on the PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside)
        .chain(std::env::split_paths(&path).map(|folder| folder.join(name)))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = "4242 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 1250 375 13 14 20 0 8";
        assert_eq!(
            parse_stat(stat),
            Some(Cpu {
                user_s: 12.5,
                system_s: 3.75
            })
        );
        assert_eq!(parse_stat("4242 (cut"), None);
    }

    #[test]
    fn cpu_is_divided_by_millions() {
        let before = Cpu {
            user_s: 1.0,
            system_s: 2.0,
        };
        let used = Cpu {
            user_s: 1.5,
            system_s: 3.0,
        }
        .since(before);
        assert_eq!(used.total_s(), 1.5);
        assert_eq!(
            used.per_million(500_000),
            Some(Cpu {
                user_s: 1.0,
                system_s: 2.0
            })
        );
        assert_eq!(used.per_million(0), None);
    }

    #[test]
    fn rss_is_read_in_bytes() {
        assert_eq!(
            parse_rss_bytes("Name:\tx\nVmRSS:\t    1234 kB\n"),
            Some(1_263_616)
        );
        assert_eq!(parse_rss_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn the_machine_is_busy_without_its_idle_time() {
        let stat = "cpu  100 20 30 99999 5000 4 6 7 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_machine_cpu_s(stat), Some(1.6));
        assert_eq!(parse_machine_cpu_s("cpu  1 2"), None);
    }

    #[test]
    fn this_process_can_be_measured() {
        let id = std::process::id();
        assert!(rss_bytes(id).expect("RSS") > 0);
        assert!(cpu(id).is_ok() && machine_cpu_s().is_ok());
        assert!(open_files_max().is_some_and(|files| files > 0));
    }
}
