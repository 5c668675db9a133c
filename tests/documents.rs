//! The documents name things of the repository: they have to be there.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every file under `folder` whose name ends so, without what is built or fetched.
fn files(folder: &Path, extensions: &[&str], out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || matches!(&*name, "target" | "node_modules" | "dist") {
            continue;
        }
        if path.is_dir() {
            files(&path, extensions, out);
        } else if extensions
            .iter()
            .any(|&extension| name.ends_with(extension))
        {
            out.push(path);
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("UTF-8")
}

/// What stands between backticks and has the form of a test's name.
fn test_names(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |quoted: &&str| {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        quoted.matches('_').count() >= 4 && quoted.chars().all(is_word)
    };
    quoted
        .filter(|quoted| !quoted.contains("_total") && !quoted.contains("_seconds"))
        .filter(is_name)
        .collect()
}

#[test]
fn the_roles_of_the_cluster_may_make_every_stream_of_the_table_of_channels() {
    let roles = read(&Path::new(ROOT).join("docker/nats.roles.conf"));
    let streams = service::streams();
    assert!(streams.len() > 5, "{streams:?}");
    for spec in streams {
        let right = format!("\"$JS.API.STREAM.CREATE.{}\"", spec.root.to_uppercase());
        assert!(
            roles.contains(&right),
            "docker/nats.roles.conf: give the role marketdata {right}, and the readers theirs"
        );
    }
}

#[test]
fn the_tests_that_documents_name_exist() {
    let mut sources = Vec::new();
    files(Path::new(ROOT), &[".rs"], &mut sources);
    let sources: String = sources.iter().map(|file| read(file)).collect();
    let mut named = 0;
    for page in ["docs/faults.md", "docs/reconciliation.md"] {
        let text = read(&Path::new(ROOT).join(page));
        for name in test_names(&text) {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "{page}: no test {name}"
            );
            named += 1;
        }
    }
    assert!(named > 20, "{named} names found");
    let faults = read(&Path::new(ROOT).join("docs/faults.md"));
    let mut web_tests = Vec::new();
    for folder in ["web/test", "clients/typescript/test"] {
        files(&Path::new(ROOT).join(folder), &[".mjs"], &mut web_tests);
    }
    let web_tests: String = web_tests.iter().map(|file| read(file)).collect();
    let titles: Vec<&str> = faults.split('"').skip(1).step_by(2).collect();
    assert!(!titles.is_empty());
    for title in titles {
        assert!(
            web_tests.contains(&format!("test(\"{title}\"")),
            "no test \"{title}\""
        );
    }
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let mut pages = Vec::new();
    files(Path::new(ROOT), &[".md"], &mut pages);
    let mut links = 0;
    for page in &pages {
        let text = read(page);
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let folder = page.parent().expect("a file is in a folder");
            assert!(folder.join(file).exists(), "{}: {target}", page.display());
            links += 1;
        }
    }
    assert!(links > 20, "{links} links found");
}

#[test]
fn health_checks_of_nats_see_that_jetstream_refuses_writes() {
    for (file, count) in [
        ("scripts/fleet.sh", 2),
        ("docker/compose.yml", 1),
        ("docker/compose.cluster.yml", 1),
    ] {
        let text = read(&Path::new(ROOT).join(file));
        let checks: Vec<&str> = text
            .lines()
            .filter(|line| {
                !line.trim_start().starts_with('#') && line.contains("8222/healthz")
                    || line.contains("_MONITOR_PORT/healthz")
                    || line.contains("_MONITOR_PORT + i))/healthz")
            })
            .collect();
        assert_eq!(checks.len(), count, "{file}: {checks:?}");
        // `js-enabled-only` and `js-server-only` leave out whether streams can be written to.
        let is_whole = checks.iter().all(|check| !check.contains("healthz?"));
        assert!(is_whole, "{file}: {checks:?}");
    }
}

/// The image has what `cargo build` makes of the named packages, and of nothing else.
#[test]
fn the_image_copies_every_member_and_builds_every_program_that_it_contains() {
    let dockerfile = read(&Path::new(ROOT).join("docker/Dockerfile"));
    let manifest = read(&Path::new(ROOT).join("Cargo.toml"));
    let members = manifest
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("the members of the workspace");
    let folders = members.split('"').skip(1).step_by(2);
    for folder in folders.map(|member| member.split('/').next().unwrap_or_default()) {
        let copy = format!("COPY {folder} ./{folder}\n");
        assert!(dockerfile.contains(&copy), "the image lacks {folder}");
    }
    let build = dockerfile
        .split("RUN cargo build ")
        .nth(1)
        .and_then(|rest| rest.split("/out/ ").next())
        .expect("the build of the programs");
    let programs: Vec<&str> = build
        .split("target/release/")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    assert!(programs.len() >= 5, "{programs:?}");
    for program in programs {
        let is_built = build.contains(&format!("-p {program} "));
        assert!(
            is_built,
            "the image contains {program}, and does not build it"
        );
    }
}

/// Every metric that the code of a folder counts: its kind, its name, and where.
fn metrics_of(folder: &Path) -> Vec<(&'static str, String, PathBuf)> {
    let mut sources = Vec::new();
    files(folder, &[".rs"], &mut sources);
    let mut found = Vec::new();
    for source in sources {
        let text = read(&source);
        let is_test = source.ends_with("tests.rs") || source.iter().any(|part| part == "tests");
        // Tests come last in a file.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for kind in ["counter", "gauge", "histogram"] {
            let call = format!("{kind}!(");
            let mut pieces = code.split(call.as_str());
            let mut before = pieces.next().unwrap_or_default();
            for piece in pieces {
                let name = piece.trim_start().strip_prefix('"');
                if let Some(name) = name.and_then(|rest| rest.split('"').next())
                    && !before.ends_with("describe_")
                    && !is_test
                {
                    found.push((kind, name.to_owned(), source.clone()));
                }
                before = piece;
            }
        }
    }
    found
}

#[test]
fn every_metric_has_a_help_text_and_a_name_by_the_rules() {
    let mut count = 0;
    for part in [
        "crates/bus",
        "crates/service",
        "alerts",
        "bridge",
        "broker",
        "exchange-sim",
        "history",
        "marketdata",
        "ws-gateway",
        "src",
    ] {
        let folder = Path::new(ROOT).join(part);
        let mut sources = Vec::new();
        files(&folder, &[".rs"], &mut sources);
        // A help text stands behind its name, in a table or in the macro.
        let helps: String = sources
            .iter()
            .map(|source| read(source))
            .filter(|text| text.contains("describe_"))
            .flat_map(|text| {
                text.split_whitespace()
                    .map(|word| format!("{word} "))
                    .collect::<Vec<_>>()
            })
            .collect();
        for (kind, name, source) in metrics_of(&folder) {
            let place = source.display();
            let described = [
                format!("(\"{name}\", \""),
                format!("( \"{name}\", \""),
                format!("( \"{name}\", Unit::"),
                format!("(\"{name}\", Unit::"),
                format!("( \"{name}\", metrics::Unit::"),
            ];
            assert!(
                described.iter().any(|form| helps.contains(form.as_str())),
                "{place}: {name} has no help text: add a describe_{kind}!"
            );
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(is_plain), "{place}: {name}");
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "{place}: counters, and no others, end with _total: {name}"
            );
            let has_base_unit = name.ends_with("_seconds") || name.ends_with("_bytes");
            assert!(
                kind != "histogram" || has_base_unit,
                "{place}: a histogram is of a base unit: {name}"
            );
            for unit in ["_ms", "_us", "_millis", "_micros", "_kib", "_percent"] {
                let is_of = name.trim_end_matches("_total").ends_with(unit);
                assert!(!is_of, "{place}: {name} is not in a base unit");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count} metrics found");
}

/// A channel is a row of `market-core/src/channel.rs`; subjects are made in `subject.rs`.
#[test]
fn no_other_code_spells_the_name_of_a_channel() {
    let channels = market_core::channel::CHANNELS.iter();
    let roots =
        channels.flat_map(|channel| [channel.root, channel.record_root(), channel.subject_root()]);
    let starts: Vec<String> = roots
        .flat_map(|root| [format!("\"{root}:"), format!("\"{root}.")])
        .collect();
    let mut sources = Vec::new();
    for part in [
        "alerts/src",
        "bridge/src",
        "broker/src",
        "crates",
        "history/src",
        "marketdata/src",
        "ws-gateway/src",
        "src",
    ] {
        files(&Path::new(ROOT).join(part), &[".rs"], &mut sources);
    }
    let mut looked_at = 0;
    for source in &sources {
        let is_test = source.ends_with("tests.rs")
            || source.ends_with("fuzz.rs")
            || source.iter().any(|part| part == "tests" || part == "fuzz");
        if is_test || source.ends_with("market-core/src/subject.rs") {
            continue;
        }
        looked_at += 1;
        let text = read(source);
        // Tests come last in a file.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for start in &starts {
                // An example within a message has its quotes escaped.
                let is_spelt = line
                    .match_indices(start.as_str())
                    .any(|(at, _)| !line[..at].ends_with('\\'));
                assert!(!is_spelt, "{}: {}", source.display(), line.trim());
            }
        }
    }
    assert!(looked_at > 150, "{looked_at} files looked at");
}

#[test]
fn every_stage_of_the_architecture_has_its_label_and_its_span() {
    let text = read(&Path::new(ROOT).join("docs/ARCHITECTURE.md"));
    let table = text
        .split("| stage | takes → gives | where |\n|---|---|---|\n")
        .nth(1)
        .expect("the table of stages");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let stages: Vec<&str> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    assert!(stages.len() >= 7, "{stages:?}");
    let mut sources = Vec::new();
    for part in ["marketdata/src", "ws-gateway/src"] {
        files(&Path::new(ROOT).join(part), &[".rs"], &mut sources);
    }
    let code: String = sources.iter().map(|source| product_code(source)).collect();
    for stage in stages.iter().map(|stage| stage.trim()) {
        let labels = [
            format!("_stage_seconds\", \"stage\" => \"{stage}\""),
            format!("stage(\"{stage}\")"),
        ];
        assert!(
            labels.iter().any(|label| code.contains(label)),
            "{stage} has no label"
        );
        assert!(
            code.contains(&format!("span!(\"{stage}\"")),
            "{stage} has no span"
        );
    }
}

/// The code of a source file, without comments and without the tests, which come last in a file.
fn product_code(source: &Path) -> String {
    let text = read(source);
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    code.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}
