//! The admin pages as an operator and a load balancer see them, over a real socket.

use std::time::Duration;

use service::{AdminServer, Service, admin_router, install_metrics, serve_admin};
use tokio::net::TcpListener;

async fn start(service: &Service) -> (String, AdminServer) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port exists");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let router = admin_router(install_metrics(), service.readiness.clone());
    let admin = serve_admin(listener, router, service.shutdown.clone());
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
    let bus = service.readiness.condition("bus_connected");
    let warm = service.readiness.condition("slots_warm");
    let (base, _admin) = start(&service).await;
    bus.unmet("nats is gone");
    let expected = "bus_connected: nats is gone\nslots_warm: not met yet\n";
    assert_eq!(get(&base, "/readyz").await, (503, expected.to_owned()));
    bus.met();
    warm.met();
    assert_eq!(get(&base, "/readyz").await, (200, "ready\n".to_owned()));
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
    service.readiness.condition("bus_connected").met();
    let (base, admin) = start(&service).await;
    assert_eq!(get(&base, "/readyz").await.0, 200);
    service.shutdown.trigger();
    let draining = "draining: the program is stopping\n";
    assert_eq!(get(&base, "/readyz").await, (503, draining.to_owned()));
    assert_eq!(get(&base, "/healthz").await.0, 200);
    admin.join().await;
    assert!(reqwest::get(format!("{base}/healthz")).await.is_err());
}
