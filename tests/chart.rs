//! The Helm chart in `docker/helm`, rendered by Helm itself.
//!
//! `KLINECAST_HELM_PYTHON` names an interpreter with `scripts/requirements/helm.txt` installed
//! (`make tools`). Without it the test is skipped: there is no package of Helm for every system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::binary;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What the check prints: the containers of each rendering. None without Helm.
fn containers() -> Option<Vec<Value>> {
    let python = std::env::var_os("KLINECAST_HELM_PYTHON");
    let Some(python) = python.filter(|python| Path::new(python).is_file()) else {
        println!("skipped: KLINECAST_HELM_PYTHON names no interpreter; make tools installs one");
        return None;
    };
    let output = Command::new(python)
        .arg("docker/helm/check.py")
        .current_dir(ROOT)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).expect("the check prints JSON"))
}

/// The flag that each variable of a program stands for, from its help.
fn flags(program: &str) -> BTreeMap<String, String> {
    let output = Command::new(binary::find(program))
        .arg("--help")
        .output()
        .expect("the program starts");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut flags = BTreeMap::new();
    let mut flag = "";
    for line in help.lines().map(str::trim_start) {
        if line.starts_with("--") {
            flag = line.split([' ', '=', '[']).next().unwrap_or_default();
        } else if let Some(variable) = line.strip_prefix("[env: ") {
            let name = variable.split(['=', ']']).next().unwrap_or_default();
            flags.insert(name.to_owned(), flag.to_owned());
        }
    }
    assert!(flags.len() > 5, "{program}: {flags:?}");
    flags
}

#[test]
fn a_rendered_chart_is_whole_and_its_programs_take_every_flag_and_value_of_it() {
    let Some(containers) = containers() else {
        return;
    };
    let mut known = BTreeMap::new();
    for container in &containers {
        let program = container["program"].as_str().expect("a program");
        let flags = known
            .entry(program.to_owned())
            .or_insert_with(|| flags(program));
        let mut command = Command::new(binary::find(program));
        for (name, value) in container["variables"].as_object().expect("variables") {
            if !name.starts_with("KLINECAST_") {
                continue;
            }
            let flag = flags
                .get(name)
                .unwrap_or_else(|| panic!("{program} has no variable {name}"));
            // As the container's runtime fills it in.
            let value = value.as_str().expect("a value");
            let value = value.replace("$(NATS_PASSWORD)", "secret");
            let value = value.replace("$(WEBHOOK_URLS)", "https://a.example/b,https://c.example");
            command.arg(format!("{flag}={value}"));
        }
        for flag in container["args"].as_array().expect("arguments") {
            command.arg(flag.as_str().expect("a text"));
        }
        // A program looks at what comes before --help, and refuses what it does not take.
        let output = command.arg("--help").output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", container["case"]);
    }
    let programs: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    let expected = BTreeSet::from([
        "alerts",
        "exchange-sim",
        "history",
        "marketdata",
        "ws-gateway",
    ]);
    assert_eq!(programs, expected);
}
