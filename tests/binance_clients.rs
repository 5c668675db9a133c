//! Programs that were written for Binance, as published, against the whole system: only their URLs
//! are changed. Each gets an open and a closed kline, and the closed kline of the socket equals the
//! row of the REST API.
//!
//! `KLINECAST_PYTHON` names an interpreter with `exchange-sim/tests/clients/requirements.txt`
//! installed, `KLINECAST_CONNECTOR_PYTHON` one with `tests/clients/requirements-connector.txt`, and
//! `tests/clients` has its npm packages (`make tools`). Clients that are not installed are skipped;
//! with `KLINECAST_REQUIRE_CLIENTS` set they fail the test instead.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use loadtest::directory::Directory;
use loadtest::process::Process;
use testkit::mint::{Issuer, KeyFile, key_set};
use testkit::wait::{holds, until};
use tokio::task::JoinSet;

fn in_checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The command of a script, if its interpreter is installed.
fn command_of(script: &'static str, program: Option<OsString>) -> Option<Command> {
    let Some(program) = program else {
        let is_required = std::env::var_os("KLINECAST_REQUIRE_CLIENTS").is_some();
        assert!(!is_required, "{script}: run make tools and make test");
        println!("skipped {script}: its interpreter or packages are not installed");
        return None;
    };
    let mut command = Command::new(program);
    command.arg(in_checkout("tests/clients").join(script));
    Some(command)
}

/// The commands of the scripts that can run here, by name.
fn scripts() -> Vec<(&'static str, Command)> {
    let python = std::env::var_os("KLINECAST_PYTHON");
    let connector = std::env::var_os("KLINECAST_CONNECTOR_PYTHON");
    let node = in_checkout("tests/clients/node_modules/@binance/spot");
    let node = node.exists().then(|| "node".into());
    let programs = [
        ("ccxt_binance.py", python.clone()),
        ("python_binance.py", python.clone()),
        ("cryptofeed_binance.py", python),
        ("connector.py", connector),
        ("spot.mjs", node),
    ];
    programs
        .into_iter()
        .filter_map(|(script, program)| Some((script, command_of(script, program)?)))
        .collect()
}

/// The whole system with a simulated market, and its address.
async fn klinecast(folder: &Directory, flags: &[&str]) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    command
        .args(["--feed", "sim", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .args(flags)
        .arg("--data-dir")
        .arg(folder.path());
    let mut klinecast = Process::start("klinecast", &mut command);
    let event = klinecast.until_event("open this in a browser").await;
    let url = event["url"].as_str().expect("an address");
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    (klinecast, address.to_owned())
}

/// ccxt and python-binance, in the places that docs/binance.md names.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_binance_give_their_token_as_key_in_a_header_and_in_the_url() {
    let Some(mut command) = command_of("tokens.py", std::env::var_os("KLINECAST_PYTHON")) else {
        return;
    };
    let issuer = Issuer::eddsa("first");
    let keys = KeyFile::new(key_set(&[&issuer]));
    let keys_flag = format!(
        "--auth-jwks-file={}",
        keys.path().expect("a file").display()
    );
    let folder = Directory::named("binance-tokens");
    let flags = ["--auth-mode=required", &keys_flag];
    let (_klinecast, address) = klinecast(&folder, &flags).await;
    command.env("KLINECAST_TOKEN", issuer.permit(&["*:>"], 3_600));
    let ran = tokio::task::spawn_blocking(move || run("tokens.py", command, &address));
    let (_, succeeded, output) = ran.await.expect("no run panics");
    assert!(succeeded, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_binance_get_klines_that_equal_their_rows() {
    // The minute in which the feed begins lacks trades. If it ended before history had asked the
    // exchange for its bars, REST would have another one than the socket.
    until("the minute goes on for a while", async || {
        let second = UNIX_EPOCH.elapsed().expect("after 1970").as_secs() % 60;
        holds(second < 40, || format!("second {second}"))
    })
    .await;
    let folder = Directory::named("binance-clients");
    let flags = ["--channels", "ticker,quote", "--trades"];
    let (_klinecast, address) = klinecast(&folder, &flags).await;

    let mut runs = JoinSet::new();
    for (name, command) in scripts() {
        runs.spawn_blocking({
            let address = address.clone();
            move || run(name, command, &address)
        });
    }
    let mut failures = Vec::new();
    while let Some(run) = runs.join_next().await {
        let (name, succeeded, output) = run.expect("no run panics");
        println!("{name}:\n{output}");
        if !succeeded {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "failed: {failures:?}");
}

/// Runs a script to its end; the script has its own deadline.
fn run(name: &'static str, mut command: Command, address: &str) -> (&'static str, bool, String) {
    let output = command
        .arg(address)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter starts");
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    (name, output.status.success(), text)
}
