//! The package of `clients/python` against the whole system, and against servers that lie and break.
//!
//! `KLINECAST_CLIENT_PYTHON` names an interpreter with `tests/clients/requirements-klinecast.txt`
//! installed (`make tools`). Without it the test is skipped; with `KLINECAST_REQUIRE_CLIENTS` set it
//! fails instead.

use std::path::Path;
use std::process::{Command, Stdio};

use loadtest::directory::Directory;
use loadtest::process::Process;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_goes_from_the_past_into_the_present_and_survives_hostile_servers() {
    let Some(python) = std::env::var_os("KLINECAST_CLIENT_PYTHON") else {
        let is_required = std::env::var_os("KLINECAST_REQUIRE_CLIENTS").is_some();
        assert!(!is_required, "run make tools and make test");
        println!("skipped: KLINECAST_CLIENT_PYTHON names no interpreter");
        return;
    };
    let folder = Directory::named("python-client");
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    command
        .args(["--feed", "sim", "--listen", "127.0.0.1:0"])
        .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(folder.path());
    let mut klinecast = Process::start("klinecast", &mut command);
    let event = klinecast.until_event("open this in a browser").await;
    let url = event["url"].as_str().expect("an address").to_owned();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python");
    let run = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .current_dir(package)
            .env("KLINECAST_URL", url)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the interpreter starts")
    });
    let output = run.await.expect("no panic");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", text.concat());
    assert!(output.status.success());
}
