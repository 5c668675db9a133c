//! The admin pages as an operator and a load balancer see them, over a real socket.

use std::time::Duration;

use axum::routing::post;
use service::{AdminConfig, AdminServer, Service, admin_router, install_metrics, serve_admin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Everything that is waited for has to happen within this.
const DEADLINE: Duration = Duration::from_secs(20);

async fn start(service: &Service) -> (String, AdminServer) {
    start_with(service, AdminConfig::default()).await
}

async fn start_with(service: &Service, config: AdminConfig) -> (String, AdminServer) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port exists");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let router = admin_router(install_metrics(), service.readiness.clone())
        .route("/change", post(|| async { "changed" }));
    let admin = serve_admin(listener, router, &config, service.shutdown.clone());
    (format!("http://{address}"), admin)
}

async fn get(base: &str, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("{base}{path}"))
        .await
        .expect("the admin listener answers");
    let status = response.status().as_u16();
    (status, response.text().await.expect("the body is text"))
}

#[tokio::test]
async fn readyz_names_each_unmet_condition_on_its_line() {
    let service = Service::for_test();
    let bus = service.readiness.condition("bus");
    let warm = service.readiness.condition("slots_warm");
    let (base, _admin) = start(&service).await;
    bus.unmet("nats is gone");
    let expected = "bus: nats is gone\nslots_warm: not met yet\n";
    assert_eq!(get(&base, "/readyz").await, (503, expected.to_owned()));
    bus.met();
    warm.met();
    assert_eq!(get(&base, "/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn metrics_say_whether_the_program_is_ready() {
    let service = Service::for_test();
    let bus = service.readiness.condition("bus");
    let (base, _admin) = start(&service).await;
    let shows = async |line: &str| {
        let (_, text) = get(&base, "/metrics").await;
        text.lines().any(|shown| shown == line)
    };
    assert!(shows("service_ready 0").await);
    bus.met();
    assert!(shows("service_ready 1").await);
    bus.unmet("nats is gone");
    assert!(shows("service_ready 0").await);
    bus.met();
    service.shutdown.trigger();
    assert!(shows("service_ready 0").await);
}

#[tokio::test]
async fn healthz_is_ok_before_ready() {
    let service = Service::for_test();
    service.readiness.condition("never_met");
    let (base, _admin) = start(&service).await;
    assert_eq!(get(&base, "/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn metrics_text_holds_ours_and_the_process() {
    let (base, _admin) = start(&Service::for_test()).await;
    metrics::counter!("service_scrape_test_total", "reason" => "test").increment(3);
    let (status, text) = get(&base, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        text.contains(r#"service_scrape_test_total{reason="test"} 3"#),
        "{text}"
    );
    assert!(text.contains("process_resident_memory_bytes "), "{text}");
    assert!(text.contains("process_cpu_seconds_total "), "{text}");
}

#[tokio::test]
async fn pages_answer_during_the_drain_and_end_after_it() {
    let service = Service::new(Duration::from_secs(60));
    service.readiness.condition("bus").met();
    let (base, admin) = start(&service).await;
    assert_eq!(get(&base, "/readyz").await.0, 200);
    service.shutdown.trigger();
    let draining = "draining: the program is stopping\n";
    assert_eq!(get(&base, "/readyz").await, (503, draining.to_owned()));
    assert_eq!(get(&base, "/healthz").await.0, 200);
    admin.join().await;
    assert!(reqwest::get(format!("{base}/healthz")).await.is_err());
}

#[tokio::test]
async fn a_request_that_a_web_page_could_send_changes_nothing() {
    let (base, _admin) = start(&Service::for_test()).await;
    let client = reqwest::Client::new();
    for (headers, expected) in [
        (vec![], 403),
        (vec![("content-type", "text/plain")], 403),
        // A page whose name was pointed at this address afterwards may add any header.
        (
            vec![
                ("x-klinecast-admin", "1"),
                ("origin", "http://page.example"),
            ],
            403,
        ),
        (vec![("x-klinecast-admin", "1")], 200),
    ] {
        let mut request = client.post(format!("{base}/change"));
        for (name, value) in &headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), expected, "{headers:?}");
        let text = answer.text().await.expect("text");
        assert!(
            expected == 200 || text.contains("X-Klinecast-Admin"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_asks_nothing_or_half_a_request_is_closed_and_others_get_its_place() {
    let config = AdminConfig {
        admin_idle_ms: 200,
        admin_connections_max: 1,
        ..AdminConfig::default()
    };
    let (base, _admin) = start_with(&Service::for_test(), config).await;
    let address = base.trim_start_matches("http://").to_owned();
    for sent in ["", "GET /healthz HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(&address).await.expect("connected");
        stream.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .expect("it is closed in time")
            .expect("it is closed in order");
    }
    // A request that was answered, and no further one.
    let mut idle = TcpStream::connect(&address).await.expect("connected");
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(request).await.expect("sent");
    let next = timeout(DEADLINE, get(&base, "/healthz")).await;
    assert_eq!(next.expect("in time"), (200, "ok\n".to_owned()));
    let mut answer = Vec::new();
    idle.read_to_end(&mut answer).await.expect("closed");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}
