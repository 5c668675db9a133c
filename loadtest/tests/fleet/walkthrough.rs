//! docs/walkthrough.md does what it says: its commands are run as they stand there, on free ports.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use loadtest::binary;
use loadtest::directory::Directory;
use loadtest::nats;
use loadtest::ports;
use loadtest::wait::DEADLINE;

const PAGE: &str = include_str!("../../../docs/walkthrough.md");
const PROGRAMS: [&str; 5] = [
    "alerts",
    "exchange-sim",
    "history",
    "marketdata",
    "ws-gateway",
];
/// The ports of the page.
const PORTS: [&str; 12] = [
    "4222", "9443", "9120", "9110", "8090", "9130", "8092", "9150", "8081", "9101", "8082", "9102",
];

/// The commands of the page, on ports that nobody else has.
fn commands() -> String {
    let blocks = PAGE.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks
        .filter_map(|block| block.split("```").next())
        .collect();
    assert!(blocks.len() > 8, "{} blocks", blocks.len());
    let mut script = format!("set -e\n{}", blocks.concat());
    for port in PORTS {
        let from = format!("127.0.0.1:{port}");
        let free = ports::reserve_address();
        assert!(
            script.contains(&from) || script.contains(&format!("-p {port} ")),
            "{port}"
        );
        script = script
            .replace(&from, &free.to_string())
            .replace(&format!("-p {port} "), &format!("-p {} ", free.port()));
    }
    script
}

#[tokio::test]
async fn the_commands_of_the_walkthrough_show_each_stage() {
    let Some(server) = nats::find_binary() else {
        let is_required = loadtest::fleet::is_required("KLINECAST_REQUIRE_NATS");
        assert!(!is_required, "there is no nats-server");
        println!("skipped: there is no nats-server");
        return;
    };
    let folder = Directory::new();
    let programs = folder.path().join("bin");
    fs::create_dir(&programs).expect("a folder");
    symlink(server, programs.join("nats-server")).expect("a link");
    for program in PROGRAMS {
        symlink(binary::find(program), programs.join(program)).expect("a link");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let output = fs::File::create(folder.path().join("output.txt")).expect("a file");
    let mut bash = tokio::process::Command::new("bash")
        .args(["-c", &commands()])
        .current_dir(folder.path())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("KLINECAST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file"))
        .stderr(output)
        .process_group(0)
        .spawn()
        .expect("bash is installed");
    let group = bash.id().expect("it runs");
    let ended = tokio::time::timeout(DEADLINE, bash.wait()).await;
    // What it started is of its group, and ends with it also after a failure.
    let _ = std::process::Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
    let is_done = matches!(ended, Ok(Ok(status)) if status.success());
    if !is_done {
        for file in fs::read_dir(folder.path()).expect("a folder").flatten() {
            if let Ok(text) = fs::read_to_string(file.path()) {
                println!("--- {}\n{text}", file.path().display());
            }
        }
    }
    assert!(is_done, "{ended:?}");
}
