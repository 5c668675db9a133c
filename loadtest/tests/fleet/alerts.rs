//! A rule, a price that moves, a client at a gateway and a webhook: one alert, though the program is
//! killed in between.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bus::{Bus, BusConfig};
use loadtest::client::Client;
use loadtest::directory::Directory;
use loadtest::fleet::{FleetConfig, start_gateway, start_nats};
use loadtest::program::{Program, arguments, fresh_http};
use loadtest::wait::{holds, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOPIC: &str = "alert:btc-5:BTC-USDT";
const SYSTEM: &str = "system:alert:warning:move";

/// Ids of the alerts that a webhook got.
type Ids = Arc<Mutex<BTreeSet<String>>>;

/// Reads one request, and returns its header with the alert's id.
async fn take(mut stream: TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let lines = head.lines().filter_map(|line| line.split_once(": "));
                let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                values.next().map(|(_, value)| value.to_owned())
            };
            if body.len() >= header("content-length")?.parse().ok()? {
                assert!(header("klinecast-signature")?.starts_with("sha256="));
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(answer).await.ok()?;
                return header("klinecast-alert-id");
            }
        }
        match stream.read(&mut bytes).await.ok()? {
            0 => return None,
            read => request.extend_from_slice(&bytes[..read]),
        }
    }
}

async fn receiver() -> (String, Ids) {
    let ids = Ids::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let got = Arc::clone(&ids);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let got = Arc::clone(&got);
            tokio::spawn(async move {
                if let Some(id) = take(stream).await {
                    got.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(id);
                }
            });
        }
    });
    (format!("http://{address}/hook"), ids)
}

/// Publishes a closed bar as marketdata does, at its price from begin to end.
async fn publish(bus: &dyn Bus, second: i64, price: &str) {
    let start_ms = 1_700_000_000_000 + second * 1_000;
    let bar = json!({
        "exchange": "binance", "symbol": "BTC-USDT", "interval": "1s",
        "start_ms": start_ms, "end_ms": start_ms + 1_000,
        "open": price, "high": price, "low": price, "close": price,
        "volume": "1", "quote_volume": null, "taker_buy_volume": null,
        "taker_buy_quote_volume": null, "count": 1,
        "state": "closed", "rev": 0, "quality": "complete",
    });
    let published = bus.publish_durable("journal.1s.BTC-USDT", bar.to_string().into());
    published.await.expect("the journal takes it");
}

/// The next alert of a topic of the client.
async fn next_alert(client: &mut Client, topic: &str) -> Value {
    loop {
        let frame = client.frame().await;
        if let Some(alert) = frame.into_iter().find(|object| object["topic"] == topic) {
            return alert;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_of_five_percent_is_one_alert_for_clients_and_webhooks_though_alerts_is_killed() {
    let Some(nats) = start_nats() else {
        return;
    };
    let gateway = start_gateway(&FleetConfig::default(), &nats.url()).await;
    gateway.program.until_ready().await;
    let folder = Directory::named("alerts");
    let (url, ids) = receiver().await;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef").expect("it is written");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let mut flags = arguments(&["--listen", "127.0.0.1:0", "--bus", &nats.url()]);
    flags.extend(["--data-dir".to_owned(), path(folder.path())]);
    flags.extend(["--webhook-url".to_owned(), url]);
    // The bars are years old.
    flags.extend(arguments(&["--webhook-age-seconds-max", "4294967295"]));
    flags.extend(["--webhook-secret-file".to_owned(), path(&secret)]);
    let mut alerts = Program::start("alerts", flags).await;
    let address = alerts.listens("alerts listens", "address").await;
    alerts.until_ready().await;

    let rule = json!({
        "name": "btc-5", "symbols": ["BTC-USDT"], "cooldown_s": 0,
        "when": { "type": "move", "percent": "5", "window_s": 300 },
    });
    let answer = fresh_http()
        .post(format!("http://{address}/api/v1/rules"))
        .header("Content-Type", "application/json")
        .body(rule.to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 201);
    let mut client = Client::connect(&gateway.url()).await;
    client.subscribe(&[TOPIC.to_owned()]).await;

    let journal = service::JournalConfig::default();
    let config = BusConfig {
        bus: nats.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &service::streams())
        .await
        .expect("a bus");
    let stream = journal.on(&config).stream().expect("a journal");
    bus.streams().put_stream(stream).await.expect("the journal");
    publish(&*bus, 0, "60000").await;
    publish(&*bus, 1, "62999.99").await;
    alerts.until_metric("alerts_bars_total", &[], 2.0).await;
    // Killed while the bar of the alert is on its way.
    publish(&*bus, 2, "63000").await;
    alerts.restart().await;
    let alert = next_alert(&mut client, TOPIC).await;
    assert_eq!(
        (&alert["seq"], &alert["value"]),
        (&json!(1), &json!("63000")),
        "{alert}"
    );
    assert_eq!(alert["start_ms"], 1_700_000_002_000_i64, "{alert}");
    for kill in 0..2_u32 {
        alerts.restart().await;
        alerts.until_ready().await;
        // Still five percent above: no second alert.
        publish(&*bus, 3 + i64::from(kill), "63100").await;
        alerts.until_metric("alerts_bars_total", &[], 1.0).await;
    }
    // Back, and up again: the next alert is the second one.
    publish(&*bus, 400, "60000").await;
    publish(&*bus, 401, "63000").await;
    let alert = next_alert(&mut client, TOPIC).await;
    assert_eq!(
        (&alert["seq"], alert.get("skipped")),
        (&json!(2), None),
        "{alert}"
    );
    until("the webhook has both", async || {
        let ids = ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        holds(ids.len() == 2, || format!("{ids:?}"))
    })
    .await;
    // A client that comes later gets the last one, and those who watch the system, too.
    let mut late = Client::connect(&gateway.url()).await;
    late.subscribe(&[TOPIC.to_owned()]).await;
    let alert = next_alert(&mut late, TOPIC).await;
    assert_eq!(alert["seq"], 2, "{alert}");
    // The topic of the system has it a moment later than the topic of the rule.
    let mut late = Client::connect(&gateway.url()).await;
    late.subscribe(&[SYSTEM.to_owned()]).await;
    let mut alert = next_alert(&mut late, SYSTEM).await;
    while alert["seq"] == 1 {
        alert = next_alert(&mut late, SYSTEM).await;
    }
    assert_eq!(alert["seq"], 2, "{alert}");
    bus.drain().await.expect("it drains");
}
