//! Which pages may connect.

use ws_gateway::{AuthConfig, Config};

use crate::support::{Gateway, start};

async fn gateway(allowed: &[&str], require_origin: bool) -> Gateway {
    let auth = AuthConfig {
        allowed_origins: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        require_origin,
        ..AuthConfig::default()
    };
    let config = Config {
        auth,
        ..Config::default()
    };
    start(config).await.ready().await
}

#[tokio::test]
async fn only_listed_origins_may_connect_and_programs_that_are_no_browsers() {
    let gateway = gateway(&["https://app.example.com", "https://*.example.org"], false).await;
    for origin in ["https://app.example.com", "https://a.b.example.org"] {
        let mut client = gateway.connect_as("/ws", &[("origin", origin)]).await;
        client.subscribe(&["system:b"]).await;
    }
    gateway.connect().await.subscribe(&["system:b"]).await;
    let before = gateway.metric("gateway_handshake_failures_total", &["\"origin\""]);
    for origin in ["https://evil.org", "http://app.example.com", "null", "x"] {
        let answer = gateway.refused("/ws", &[("origin", origin)]).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.body().contains("--allowed-origins"));
        assert!(!answer.body().contains("evil"));
    }
    let after = gateway.metric("gateway_handshake_failures_total", &["\"origin\""]);
    assert!(after >= before + 4.0);
}

#[tokio::test]
async fn every_origin_may_connect_unless_there_is_a_list() {
    let gateway = gateway(&[], false).await;
    let mut client = gateway
        .connect_as("/ws", &[("origin", "https://anywhere.example")])
        .await;
    client.subscribe(&["system:b"]).await;
}

#[tokio::test]
async fn an_origin_can_be_required() {
    let gateway = gateway(&["https://app.example.com"], true).await;
    let answer = gateway.refused("/ws", &[]).await;
    assert_eq!(answer.status(), 403);
    assert!(answer.body().contains("Origin"));
    let origin = [("origin", "https://app.example.com")];
    let mut client = gateway.connect_as("/ws", &origin).await;
    client.subscribe(&["system:b"]).await;
}
