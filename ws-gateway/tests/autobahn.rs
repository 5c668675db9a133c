//! Autobahn's cases against the gateway's WebSocket layer: the reader and gate of sessions, in
//! echo mode. Needs `kosoku` (PyPI) on the PATH or in the variable KOSOKU.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use ws_gateway::Config;

use crate::support::start;

/// The cases of permessage-deflate are 12 groups of 18 sizes, a thousand messages each. These
/// sizes run: a small one, and one in fragments. All of them take minutes: set
/// KLINECAST_AUTOBAHN=all.
const DEFLATE_SIZES: [u8; 2] = [2, 12];

/// The cases that do not run. Each by its name: kosoku's globs end before a second digit.
fn excluded() -> Vec<String> {
    if std::env::var_os("KLINECAST_AUTOBAHN").is_some_and(|cases| cases == "all") {
        return Vec::new();
    }
    (1..=18)
        .filter(|size| !DEFLATE_SIZES.contains(size))
        .flat_map(|size| {
            let groups = (1..=5).map(|group| (12, group));
            groups
                .chain((1..=7).map(|group| (13, group)))
                .map(move |(section, group)| format!("{section}.{group}.{size}"))
        })
        .collect()
}

fn find_kosoku() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("KOSOKU") {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("kosoku"))
        .find(|file| file.is_file())
}

/// Case and verdict of every report in a folder.
fn verdicts(folder: &Path) -> Vec<(String, String)> {
    let mut verdicts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let (Some(case), Some(verdict)) = (report.get("id"), report["behavior"].as_str()) {
            verdicts.push((case.to_string(), verdict.to_owned()));
        }
    }
    verdicts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_case_that_applies_passes() {
    let Some(kosoku) = find_kosoku() else {
        println!(
            "SKIPPED: kosoku is neither in the variable KOSOKU nor on the PATH: pip install kosoku==0.1.0"
        );
        return;
    };
    let config = Config {
        echo_path: Some("/echo".to_owned()),
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let folder = std::env::temp_dir().join(format!("klinecast-autobahn-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = std::process::Command::new(kosoku);
    command.args(["-m", "fuzzingclient", "-p", "4"]);
    for cases in excluded() {
        command.args(["-x", &cases]);
    }
    command.arg("-o").arg(&folder).arg(gateway.url("/echo"));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // Its exit code counts cases that do not apply as failed, so the reports are read instead.
    tokio::task::spawn_blocking(move || command.status())
        .await
        .unwrap()
        .unwrap();
    let verdicts = verdicts(&folder);
    let failed: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict)| !["OK", "NON-STRICT", "INFORMATIONAL"].contains(&verdict.as_str()))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let deflated = verdicts
        .iter()
        .filter(|(case, _)| case.starts_with("\"12.") || case.starts_with("\"13."));
    assert!(deflated.count() >= 12 * DEFLATE_SIZES.len());
    assert!(verdicts.len() >= 320, "only {} cases ran", verdicts.len());
    std::fs::remove_dir_all(&folder).unwrap();
}
