//! The dashboards for Grafana, and the alert rules, on a real Prometheus that scrapes a running
//! klinecast.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use loadtest::client::Client;
use loadtest::directory::Directory;
use loadtest::fleet::is_required;
use loadtest::follower::Follower;
use loadtest::process::Process;
use loadtest::program::fresh_http;
use loadtest::wait::{holds, until};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A query of a panel, and the labels that its legend names.
#[derive(Debug)]
struct Query {
    panel: String,
    expr: String,
    labels: Vec<String>,
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let folder = Path::new(ROOT).join("docker/grafana/dashboards");
    let entries = fs::read_dir(folder).expect("the folder is there");
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let json = serde_json::from_str(&text).expect("a dashboard is JSON");
            (path, json)
        })
        .collect()
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    let list = value.pointer(path).and_then(Value::as_array);
    list.unwrap_or_else(|| panic!("no list {path}: {value}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The words between `{{` and `}}`.
fn labels_of(legend: &str) -> Vec<String> {
    let labels = legend.split("{{").skip(1);
    labels
        .filter_map(|rest| rest.split_once("}}"))
        .map(|(label, _)| label.trim().to_owned())
        .collect()
}

/// Every query, with what Grafana would put in for its variables.
fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (path, dashboard) in dashboards() {
        for panel in list(&dashboard, "/panels") {
            for target in list(panel, "/targets") {
                let expr = text(&target["expr"])
                    .replace("$__rate_interval", "30s")
                    .replace("$instance", ".*");
                assert!(!expr.contains('$'), "{expr}");
                queries.push(Query {
                    panel: format!("{}: {}", path.display(), panel["title"]),
                    expr,
                    labels: labels_of(&text(&target["legendFormat"])),
                });
            }
        }
    }
    queries
}

/// The metrics of the programs that a query names.
fn metrics(expr: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expr.split(|letter: char| !is_part(letter));
    let owners = [
        "bus",
        "broker",
        "gateway",
        "history",
        "marketdata",
        "process",
        "service",
    ];
    words
        .filter(|word| {
            let owner = word.split_once('_').map(|(owner, _)| owner);
            owner.is_some_and(|owner| owners.contains(&owner))
        })
        .collect()
}

struct Prometheus {
    url: String,
    http: reqwest::Client,
    /// Before the folder, which it uses.
    _process: Process,
    _folder: Directory,
}

impl Prometheus {
    /// One that scrapes this admin side each second, with the alert rules.
    async fn start(admin: &str) -> Self {
        let folder = Directory::named("prometheus");
        let rules = Path::new(ROOT).join("docker/alerts.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: klinecast\n    static_configs: [{{ targets: ['{admin}'] }}]\n",
            rules.display()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("the folder can be written");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start("prometheus", &mut command).asked_to_end();
        let address = until("prometheus listens", async || {
            let ended = process.ended();
            assert!(ended.is_none(), "{}", process.log());
            let log = process.log();
            let line = log.lines().find(|line| line.contains("\"Listening on\""));
            let address = line.and_then(|line| line.split_once("address="));
            let address = address.and_then(|(_, rest)| rest.split_whitespace().next());
            address.map(str::to_owned).ok_or(log.clone())
        })
        .await;
        Self {
            url: format!("http://{address}"),
            http: fresh_http(),
            _process: process,
            _folder: folder,
        }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.http.get(format!("{}{path}", self.url)).query(query);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let json: Value = serde_json::from_str(&text).map_err(|_| text.clone())?;
        match json["status"] == "success" {
            true => Ok(json["data"].clone()),
            false => Err(text),
        }
    }

    /// Whether a query has an answer in which each series has the labels of the legend.
    async fn answers(&self, query: &Query) -> Result<(), String> {
        let data = self
            .get("/api/v1/query", &[("query", query.expr.as_str())])
            .await?;
        let series = list(&data, "/result");
        let is_labelled = |one: &Value| {
            query
                .labels
                .iter()
                .all(|label| one["metric"][label].is_string())
        };
        holds(!series.is_empty() && series.iter().all(is_labelled), || {
            format!("{query:?}: {data}")
        })
    }
}

#[test]
fn each_dashboard_has_a_name_of_its_own_and_panels_that_do_not_overlap() {
    let dashboards = dashboards();
    assert!(dashboards.len() >= 5);
    let names: BTreeSet<String> = dashboards
        .iter()
        .map(|(_, json)| text(&json["uid"]))
        .collect();
    assert_eq!(names.len(), dashboards.len());
    for (path, dashboard) in &dashboards {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in list(dashboard, "/panels") {
            let title = &panel["title"];
            let at = |field: &str| panel["gridPos"][field].as_u64().expect("a number");
            assert!(
                ids.insert(panel["id"].as_u64()),
                "{}: {title}",
                path.display()
            );
            assert!(at("x") + at("w") <= 24, "{}: {title}", path.display());
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{}: {title}", path.display());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboards_has_an_answer_on_a_running_klinecast() {
    let is_there = Command::new("prometheus").arg("--version").output().is_ok();
    if !is_there {
        let why = "prometheus is not on the PATH (Debian: package prometheus)";
        assert!(!is_required("KLINECAST_REQUIRE_PROMETHEUS"), "{why}");
        println!("skipped: {why}");
        return;
    }
    let folder = Directory::named("klinecast-dashboards");
    let mut command = Command::new(env!("CARGO_BIN_EXE_klinecast"));
    command
        .args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"])
        .args(["--feed", "sim", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path());
    let mut klinecast = Process::start("klinecast", &mut command);
    let event = klinecast.until_event("open this in a browser").await;
    let url = text(&event["url"]);
    let admin = text(&klinecast.until_event("admin pages served").await["address"]);
    let prometheus = Prometheus::start(&admin).await;
    // A bit of life: a client that reads, one that asks for the past, and a question to history.
    let socket = format!("{}ws", url.replacen("http", "ws", 1));
    let topics = ["kline:1s:BTC-USDT", "kline:1m:BTC-USD"].map(str::to_owned);
    let _follower = Follower::start(socket.clone(), topics.into());
    let mut client = Client::connect(&socket).await;
    client
        .send(
            r#"{"op":"sub","topics":["kline:1s:BTC-USDT","kline:7s:BTC-USDT"],"from":{"last":5}}"#,
        )
        .await;
    let http = fresh_http();
    let page = async || {
        let page = http.get(format!("http://{admin}/metrics")).send().await;
        let page = page.expect("it is served").text().await;
        page.expect("a text")
    };
    until("bars are stored and were asked for", async || {
        let bars = format!("{url}api/v1/bars?symbol=BTC-USDT&width=1s&limit=5");
        let _ = http.get(bars).send().await;
        let page = page().await;
        let has = |metric: &str| page.lines().any(|line| line.starts_with(metric));
        let all = [
            "history_commit_seconds_bucket",
            "history_requests_total{",
            "gateway_fanout_seconds_bucket",
        ];
        holds(all.iter().all(|metric| has(metric)), || page.clone())
    })
    .await;
    let mut answered = 0;
    for query in queries() {
        let is_answered = until("an answer", async || {
            let Err(why) = prometheus.answers(&query).await else {
                return Ok(true);
            };
            // A counter with labels is there once it has counted something. Nothing of this kind
            // has happened yet, and the query is right to find nothing.
            let page = page().await;
            let is_counted = |metric: &&str| {
                page.lines().any(|line| {
                    line.strip_prefix(metric)
                        .is_some_and(|rest| rest.starts_with(['{', ' ']))
                })
            };
            match metrics(&query.expr).iter().all(is_counted) {
                true => Err(format!("{}: {why}", query.panel)),
                false => Ok(false),
            }
        })
        .await;
        answered += usize::from(is_answered);
    }
    assert!(answered > 60, "{answered}");
    until("each alert rule was evaluated", async || {
        let data = prometheus.get("/api/v1/rules", &[]).await?;
        let groups = list(&data, "/groups").iter();
        let rules: Vec<&Value> = groups.flat_map(|group| list(group, "/rules")).collect();
        let is_well = |rule: &&Value| rule["health"] == "ok";
        holds(rules.len() > 30 && rules.iter().all(is_well), || {
            data.to_string()
        })
    })
    .await;
}
