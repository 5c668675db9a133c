//! The alert rules for Prometheus: each one fires where it must, and the runbook says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the names of metrics of the programs begin with.
const PREFIXES: [&str; 9] = [
    "alerts_",
    "bridge_",
    "bus_",
    "broker_",
    "gateway_",
    "history_",
    "marketdata_",
    "process_",
    "service_",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect("the file is there")
}

/// The values of the lines that have this key.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let value = |line: &'a str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.strip_prefix(key)?.strip_prefix(": ")
    };
    yaml.lines().filter_map(value).collect()
}

/// The rules, each from its name to the next one.
fn rules(yaml: &str) -> BTreeMap<&str, &str> {
    let rules = yaml.split("- alert: ").skip(1);
    rules
        .map(|rule| rule.split_once('\n').expect("a rule has lines"))
        .collect()
}

/// The sections of the runbook, each from its heading to the next one.
fn sections(page: &str) -> BTreeMap<&str, &str> {
    let sections = page.split("\n### ").skip(1);
    sections
        .map(|section| section.split_once('\n').expect("a section has lines"))
        .map(|(name, text)| (name, text.split("\n## ").next().unwrap_or_default()))
        .collect()
}

/// The words of a text that look like names of metrics. `_bucket` and the like belong to a histogram.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter: char| !is_part(letter));
    let words = words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix)));
    words
        .map(|word| {
            let endings = ["_bucket", "_sum", "_count"];
            let stem = endings.iter().find_map(|ending| word.strip_suffix(ending));
            stem.unwrap_or(word)
        })
        .collect()
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The metrics that have a help text: the texts within the files that describe metrics.
fn described() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in [
        "alerts/src",
        "bridge/src",
        "crates/bus/src",
        "crates/service/src",
        "marketdata/src",
        "ws-gateway/src",
        "history/src",
        "broker/src",
    ] {
        sources(&Path::new(ROOT).join(folder), &mut files);
    }
    let texts = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("UTF-8"))
        .filter(|text| {
            ["describe_", "NameAndHelp", "# HELP"]
                .iter()
                .any(|mark| text.contains(mark))
        });
    let texts: Vec<String> = texts.collect();
    let quoted = texts
        .iter()
        .flat_map(|text| text.split('"').skip(1).step_by(2));
    let names = quoted.flat_map(|text| {
        let is_name = metrics(text).contains(text);
        is_name.then(|| text.to_owned())
    });
    names.collect()
}

#[test]
fn each_alert_has_a_section_in_the_runbook_and_each_section_has_an_alert() {
    let (rules_file, page) = (read("docker/alerts.yml"), read("docs/runbook.md"));
    let (rules, sections) = (rules(&rules_file), sections(&page));
    assert!(rules.len() > 30, "{} rules", rules.len());
    let named: BTreeSet<_> = rules.keys().collect();
    assert_eq!(named, sections.keys().collect());
    for (name, rule) in &rules {
        let section = sections[name];
        let severity = values(rule, "labels");
        let severity = severity.first().expect("a rule has labels");
        let severity = severity.trim_matches(|letter| "{} ".contains(letter));
        let severity = severity.trim_start_matches("severity: ");
        assert!(
            section.contains(&format!("Severity: {severity}.")),
            "{name}: {severity}"
        );
        let summary = values(rule, "summary")[0]
            .trim_matches('\'')
            .replace("''", "'");
        assert!(
            section.contains(&format!("*{summary}.*")),
            "{name}: {summary}"
        );
        assert_eq!(
            values(rule, "runbook"),
            [format!("docs/runbook.md#{}", name.to_lowercase())]
        );
        assert!(section.contains("\n1. "), "{name}: nothing to do");
    }
}

#[test]
fn each_alert_has_a_case_that_fires_and_one_that_does_not() {
    let (rules_file, cases) = (read("docker/alerts.yml"), read("docker/alerts.test.yml"));
    let mut seen: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for case in cases.split("alertname: ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a case has lines");
        let is_quiet = rest.trim_start().starts_with("exp_alerts: []");
        seen.entry(name).or_default()[usize::from(is_quiet)] += 1;
    }
    let rules = rules(&rules_file);
    assert_eq!(
        rules.keys().collect::<BTreeSet<_>>(),
        seen.keys().collect::<BTreeSet<_>>()
    );
    for (name, [firing, quiet]) in seen {
        assert!(firing > 0 && quiet > 0, "{name}: {firing} {quiet}");
    }
}

#[test]
fn each_metric_of_alerts_dashboards_and_documents_has_a_help_text() {
    let described = described();
    assert!(described.len() > 200, "{}", described.len());
    for file in [
        "docker/alerts.yml",
        "docker/alerts.test.yml",
        "docs/runbook.md",
        "docs/operations.md",
        "docker/grafana/dashboards/broker.json",
        "docker/grafana/dashboards/fleet.json",
        "docker/grafana/dashboards/gateway.json",
        "docker/grafana/dashboards/history.json",
        "docker/grafana/dashboards/marketdata.json",
    ] {
        let text = read(file);
        let metrics = metrics(&text);
        // What ends with an underscore stands for a family, and file names are none.
        let metrics = metrics.iter().filter(|name| !name.ends_with('_'));
        let unknown: Vec<_> = metrics.filter(|&&name| !described.contains(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn the_rules_fire_where_they_must_and_nowhere_else() {
    let promtool = |arguments: &[&str]| {
        Command::new("promtool")
            .args(arguments)
            .current_dir(Path::new(ROOT).join("docker"))
            .output()
    };
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let Ok(output) = promtool(&arguments) else {
            println!("skipped: promtool is not on the PATH (Debian: package prometheus)");
            return;
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "promtool {arguments:?}: {said}");
    }
}
