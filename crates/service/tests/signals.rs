//! Signals as an operator sends them, to this test binary run once more as the program.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use service::{DrainConfig, DrainDeadlinePassed, Program as Running, ProgramConfig};

/// Set for the child, which then is the program instead of the test.
const PLAYS_PROGRAM: &str = "SERVICE_TEST_PLAYS_PROGRAM";

/// A program that drains for `drain`, telling each step on standard output.
#[test]
fn program() {
    let Ok(drain_ms) = std::env::var(PLAYS_PROGRAM) else {
        return;
    };
    let drain = Duration::from_millis(drain_ms.parse().expect("the test passes a number"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let config = ProgramConfig {
            drain: DrainConfig {
                drain_deadline_ms: 60_000,
                drain_seconds: None,
            },
            ..ProgramConfig::default()
        };
        let program = Running::start(&config);
        let shutdown = program.service().shutdown;
        let work = async {
            say("running");
            shutdown.triggered().await;
            say("draining");
            tokio::time::sleep(drain).await;
            Ok::<(), DrainDeadlinePassed>(())
        };
        program.run(work).await.expect("drained in time");
    });
    say("drained");
}

fn say(step: &str) {
    println!("step:{step}");
    std::io::stdout().flush().expect("the test reads it");
}

struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    fn start(drain: Duration) -> Program {
        let mut child = Command::new(std::env::current_exe().expect("the test has a path"))
            .args(["--exact", "program", "--nocapture"])
            .env(PLAYS_PROGRAM, drain.as_millis().to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the test binary starts");
        let stdout = child.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines();
        let mut program = Program { child, lines };
        program.wait_for("running");
        program
    }

    fn wait_for(&mut self, step: &str) {
        let said = self.lines.any(|line| {
            line.expect("the program writes text")
                .ends_with(&format!("step:{step}"))
        });
        assert!(said, "the program never said {step}");
    }

    fn signal(&self, name: &str) {
        let process_id = self.child.id().to_string();
        let status = Command::new("kill").args([name, &process_id]).status();
        assert!(status.expect("kill is installed").success());
    }

    /// What it logged; waits for its end.
    fn log(&mut self) -> String {
        let mut log = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut log).expect("logs are utf-8");
        log
    }

    fn exit(&mut self) -> ExitStatus {
        self.child.wait().expect("the program ends")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Only has an effect if the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn first_signal_drains() {
    for signal in ["-TERM", "-INT"] {
        let mut program = Program::start(Duration::ZERO);
        program.signal(signal);
        program.wait_for("draining");
        program.wait_for("drained");
        assert!(program.exit().success());
    }
}

#[test]
fn second_signal_exits_at_once() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut program = Program::start(Duration::from_secs(600));
        program.signal("-TERM");
        program.wait_for("draining");
        program.signal(signal);
        assert_eq!(program.exit().code(), Some(code));
        // It ends without draining, but not without its last words.
        let log = program.log();
        assert!(log.contains("exiting without draining"), "{log}");
    }
}
