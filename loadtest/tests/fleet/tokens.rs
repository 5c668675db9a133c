//! Tokens on their way through nginx.

use loadtest::directory::Directory;
use loadtest::fleet::find_nginx;
use loadtest::nginx::Nginx;
use loadtest::program::{Program, arguments};

/// Long enough to be found in a log by chance only if it is the same.
const TOKEN: &str = "dG9rZW4tdGhhdC1pcy1ub25l-7f1c90a6";

/// Status and text of a handshake through nginx that is refused.
async fn ask(nginx: &Nginx, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = reqwest::Client::new()
        .get(format!("http://{}{path}", nginx.address))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("nginx answers");
    (
        answer.status().as_u16(),
        answer.text().await.expect("a text"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_tokens_on_and_writes_none_to_its_log() {
    let Some(binary) = find_nginx() else {
        return;
    };
    let folder = Directory::named("keys");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [b's'; 32]).expect("the folder is ours");
    let flags = arguments(&[
        "--listen=127.0.0.1:0",
        "--trusted-proxy=127.0.0.1",
        "--auth-mode=required",
        &format!("--auth-hs256-secret-file={}", secret.display()),
        "--auth-cookie=sid",
        "--allowed-origins=https://app.example.com",
    ]);
    let mut gateway = Program::start("ws-gateway", flags).await;
    let address = gateway.listens("gateway listens", "address").await;
    let nginx = Nginx::start(&binary, &[address]).await;
    let query = format!("/ws?token={TOKEN}");
    let header = format!("Bearer {TOKEN}");
    let cookie = format!("sid={TOKEN}");
    for (path, headers) in [
        (query.as_str(), &[][..]),
        ("/ws", &[("authorization", header.as_str())]),
        ("/ws", &[("cookie", cookie.as_str())]),
    ] {
        let (status, text) = ask(&nginx, path, headers).await;
        assert_eq!(status, 401, "{text}");
        assert!(text.contains("JWT"), "{text}");
    }
    let (status, _) = ask(&nginx, "/ws", &[("origin", "https://evil.example")]).await;
    assert_eq!(status, 403);
    // nginx has most to say when nobody is behind it.
    gateway.process.kill();
    for _ in 0..5 {
        assert_eq!(ask(&nginx, &query, &[]).await.0, 502);
    }
    let missing = format!("/none?token={TOKEN}");
    assert_eq!(ask(&nginx, &missing, &[]).await.0, 404);
    let log = nginx.log();
    assert!(!log.contains(TOKEN), "{log}");
}
