//! Three brokers with a cluster of three servers, and TLS.

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serde_json::json;
use testkit::wait::{holds, until};

use crate::support::{Broker, Setup, has_nats};

#[tokio::test]
async fn three_brokers_make_a_cluster_that_keeps_its_messages_when_a_leader_dies() {
    if !has_nats() {
        return;
    }
    let ports: [u16; 3] = std::array::from_fn(|_| testkit::ports::reserve());
    let routes = ports
        .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
        .join(", ");
    let starts = ports.map(|port| {
        let own = format!("cluster_port: {port}");
        let routes = format!("cluster_routes: [{routes}]");
        let stream = "streams: {ORDERS: {subjects: [\"orders.>\"], max_msgs: 100, replicas: 3}}";
        Setup::new(&[], &["cluster_name: tests", &own, &routes, stream]).start()
    });
    // A cluster serves once most of its servers are there.
    let [one, two, three] = starts;
    let (one, two, three) = tokio::join!(one, two, three);
    let brokers: [Broker; 3] = [one, two, three];
    for number in 0..10 {
        brokers[0].publish("orders.a", &json!(number)).await;
    }
    let stream = brokers[1].stream("ORDERS").await;
    assert_eq!(
        stream["copies"].as_array().map(Vec::len),
        Some(2),
        "{stream}"
    );
    let mut leader = None;
    for (index, broker) in brokers.iter().enumerate() {
        let info = broker.get("/api/v1/nats/info").await;
        if info["server_info"]["server_name"] == stream["leader"] {
            leader = Some((index, info["pid"].as_u64().expect("a process")));
        }
    }
    let (leader, process_id) = leader.expect("one of them leads");
    let killed = Command::new("kill")
        .args(["-s", "KILL", &process_id.to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    let other = &brokers[(leader + 1) % 3];
    until("a publication under another leader", async || {
        let body = json!({"subject": "orders.a", "message": "after"});
        let (status, answer) = other.post("/api/v1/publish", &body).await;
        holds(status == 200 && answer["stream"] == "ORDERS", || {
            answer.to_string()
        })
    })
    .await;
    until("all copies are there again", async || {
        let (_, stream) = other.ask(Method::GET, "/api/v1/streams/ORDERS", None).await;
        let copies = stream["copies"].as_array().cloned().unwrap_or_default();
        let is_whole = copies.len() == 2 && copies.iter().all(|copy| copy["current"] == true);
        // A publication whose answer was lost may be there twice.
        let count = stream["messages"].as_u64().unwrap_or(0);
        holds(is_whole && count >= 11, || stream.to_string())
    })
    .await;
    let info = brokers[leader].get("/api/v1/nats/info").await;
    assert_eq!(info["restarts"], 1);
}

/// A certificate for localhost, and the authority that signed it, made by openssl.
fn certificates(folder: &Path) -> bool {
    let script = "set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request -subj /CN=localhost
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile extensions";
    let status = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .output();
    status.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn with_tls_the_broker_and_klinecasts_streams_are_there_and_plain_clients_are_not_let_in() {
    if !has_nats() {
        return;
    }
    let mut setup = Setup::new(&[], &[]);
    let folder = setup.directory.path().to_owned();
    if !certificates(&folder) {
        println!("skipped: openssl makes no certificates here");
        return;
    }
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let tls = format!(
        "    nats_url: \"tls://localhost:{}\"\n    tls: {{cert_file: {}, key_file: {}, ca_file: {}}}\n",
        setup.nats_port,
        file("cert.pem"),
        file("key.pem"),
        file("ca.pem")
    );
    setup.yaml.push_str(&tls);
    let broker = setup.start().await;
    broker.publish("market.v.X.trade", &json!(1)).await;
    assert_eq!(broker.stream("SYSTEM").await["owner"], "klinecast");
    let plain = bus::BusConfig {
        bus: format!("nats://127.0.0.1:{}", broker.setup.nats_port)
            .parse()
            .expect("an address"),
        bus_connect_deadline_ms: 1_000,
        ..bus::BusConfig::default()
    };
    assert!(bus::connect(&plain, &[]).await.is_err());
}
