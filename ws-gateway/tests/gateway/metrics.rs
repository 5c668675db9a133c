//! What a scrape of a gateway says, after a bit of life.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use ws_gateway::Config;

use crate::support::{closed, forming, start};

/// The second words of the lines that begin so.
fn named<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    text.lines()
        .filter_map(|line| line.strip_prefix(start))
        .filter_map(|rest| rest.split(' ').next())
        .collect()
}

/// What promtool has to say of it; nothing, and a line, where there is none.
fn promtool(text: &str) -> String {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: promtool is not on the PATH (Debian: package prometheus)");
        return String::new();
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn every_metric_of_a_scrape_says_what_it_is() {
    // As a program does, before anything that counts.
    service::install_metrics();
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:>", "system:>"]).await;
    client.send("no request").await;
    let garbage = Bytes::from_static(b"{garbage");
    gateway.bus.publish("kline.1s.A-B", garbage).await.unwrap();
    gateway.publish(&forming(1, 1)).await;
    gateway.publish_closed(&closed(1, 2)).await;
    gateway.publish_mark("1s", 2_000, 1).await;
    while client.object().await["state"] != "closed" {}
    drop(client);
    let text = gateway.scrape();
    let (typed, helped) = (named(&text, "# TYPE "), named(&text, "# HELP "));
    assert!(typed.len() > 30, "{text}");
    let lacking: Vec<_> = typed.difference(&helped).collect();
    assert!(lacking.is_empty(), "no help text: {lacking:?}");
    assert_eq!(promtool(&text), "");
}
