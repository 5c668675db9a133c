//! Hostile requests, and a server that fails beneath the API.

use std::io::{Read, Write};
use std::net::TcpStream;

use bus::BusConfig;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::nats::NatsServer;
use testkit::nats::disk::SmallDisk;
use testkit::wait::{holds, until};

use crate::support::{ADMIN, Broker, PUBLISHER, READER, Setup, has_nats};

/// The status of an answer to bytes on a socket.
fn raw(broker: &Broker, request: &str) -> u16 {
    let mut stream = TcpStream::connect(broker.address).expect("it listens");
    stream
        .set_read_timeout(Some(testkit::wait::DEADLINE))
        .expect("a socket");
    stream.write_all(request.as_bytes()).expect("it takes");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("it answers");
    let text = String::from_utf8_lossy(&answer[9..]).into_owned();
    text.parse().expect("a status")
}

#[tokio::test]
async fn hostile_bodies_and_subjects_are_refused_with_what_to_do() {
    if !has_nats() {
        return;
    }
    let setup = Setup::new(&[], &["max_payload: 64KB"]).flags(&["--body-bytes-max", "100000"]);
    let broker = setup.start().await;
    let publish = async |subject: &str, message: Value| {
        broker
            .post(
                "/api/v1/publish",
                &json!({"subject": subject, "message": message}),
            )
            .await
    };
    for subject in [
        "",
        "$JS.API.STREAM.DELETE.MARKET_DATA",
        "$SYS.REQ.SERVER.PING",
        "_INBOX.x",
        "_R_.x",
        "a..b",
        "a.*",
        "a.>",
        "a b",
        "a\r\nPUB b 1\r\nx",
        "klinecast.copy.system.x",
        &"x.".repeat(400),
    ] {
        let (status, answer) = publish(subject, json!(1)).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("bad_subject")),
            "{subject}: {answer}"
        );
    }
    let (status, answer) = publish("market.x", json!("x".repeat(70_000))).await;
    assert_eq!(status, 413, "{answer}");
    let (status, answer) = publish("market.x", json!("x".repeat(200_000))).await;
    assert!(
        status == 413
            && answer["error"]["message"]
                .as_str()
                .unwrap_or("")
                .contains("--body-bytes-max")
    );
    for body in [
        json!({}),
        json!([]),
        json!({"subject": "a", "message": 1, "x": 1}),
        json!({"subject": 1, "message": 1}),
    ] {
        let (status, answer) = broker.post("/api/v1/publish", &body).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("bad_body")),
            "{body}: {answer}"
        );
    }
    let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    let json_of = |body: &str| {
        format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert_eq!(raw(&broker, &json_of(&"[".repeat(50_000))), 400);
    assert_eq!(
        raw(
            &broker,
            &json_of("{\"subject\":\"a\",\"subject\":\"b\",\"message\":1}")
        ),
        400
    );
    assert_eq!(
        raw(&broker, &json_of("{\"subject\":\"a\",\"message\":1} x")),
        400
    );
    assert_eq!(
        raw(
            &broker,
            &format!("{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}")
        ),
        415
    );
    // A misspelled dry run is no dry run: nothing is deleted.
    let (status, _) = broker
        .ask(
            Method::DELETE,
            "/api/v1/streams/SERVICE_LOGS?dryrun=true",
            None,
        )
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        broker
            .ask(Method::DELETE, "/api/v1/streams/A.B%3E", None)
            .await
            .0,
        400
    );
    let purge = json!({"keep": 0});
    assert_eq!(
        broker
            .post("/api/v1/streams/SERVICE_LOGS/purge", &purge)
            .await
            .0,
        400
    );
    assert_eq!(broker.get("/api/v1/nats/info").await["status"], "running");
}

#[tokio::test]
async fn a_web_page_of_another_site_can_neither_write_nor_read() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let get = |headers: &str| {
        raw(
            &broker,
            &format!("GET /api/v1/streams HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"),
        )
    };
    assert_eq!(get("Host: localhost:8085\r\n"), 200);
    assert_eq!(
        get("Host: localhost:8085\r\nOrigin: http://localhost:8085\r\n"),
        200
    );
    assert_eq!(
        get("Host: localhost:8085\r\nOrigin: https://evil.example\r\n"),
        403
    );
    assert_eq!(get("Host: localhost:8085\r\nOrigin: null\r\n"), 403);
    // A name that a name server turns into 127.0.0.1.
    assert_eq!(get("Host: evil.example:8085\r\n"), 403);
}

#[tokio::test]
async fn a_client_of_a_proxy_on_this_host_is_no_program_of_this_host() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let publish = |headers: &str| {
        let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let body = r#"{"subject":"market.v.X.ticker","message":1}"#;
        let length = body.len();
        raw(
            &broker,
            &format!(
                "{head}{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            ),
        )
    };
    assert_eq!(publish(""), 200);
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
        assert_eq!(
            publish(&format!("{header}: 192.0.2.1\r\n")),
            403,
            "{header}"
        );
    }
}

#[tokio::test]
async fn a_token_permits_what_its_role_does_and_reaches_no_log() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[]).tokens().start().await;
    let ticker = json!({"subject": "market.v.X.ticker", "message": 1});
    let own = [
        "closed.1m.BTC-USD",
        "market.binance.BTC-USDT.trade",
        "presence.beat",
        "fleet.rebalance",
        "boundary.1m",
        "archive.bars.okx",
        "history.query",
    ];
    let stream = json!({"name": "NEW", "subjects": ["new.>"], "max_msgs": 1});
    for (token, publish, believed, create) in [
        (None, 401, 401, 401),
        (Some("not-a-token-of-the-file"), 401, 401, 401),
        (Some(READER), 403, 403, 403),
        (Some(PUBLISHER), 200, 403, 403),
        (Some(ADMIN), 200, 200, 201),
    ] {
        broker.token = token;
        assert_eq!(
            broker.ask(Method::GET, "/api/v1/streams", None).await.0,
            200,
            "{token:?}"
        );
        assert_eq!(
            broker.post("/api/v1/publish", &ticker).await.0,
            publish,
            "{token:?}"
        );
        for subject in own {
            let publication = json!({"subject": subject, "message": 1});
            assert_eq!(
                broker.post("/api/v1/publish", &publication).await.0,
                believed,
                "{token:?}: {subject}"
            );
        }
        assert_eq!(
            broker.post("/api/v1/streams", &stream).await.0,
            create,
            "{token:?}"
        );
    }
    let log = broker.process.log();
    for token in [ADMIN, PUBLISHER, READER, "not-a-token-of-the-file"] {
        assert!(!log.contains(token), "{log}");
    }
}

#[tokio::test]
async fn reading_needs_a_token_if_asked_for_but_health_needs_none() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[])
        .tokens()
        .flags(&["--reads-need-token"])
        .start()
        .await;
    for path in [
        "/api/v1/status",
        "/api/v1/streams/MARKET_DATA/messages",
        "/api/v1/openapi.json",
    ] {
        assert_eq!(broker.ask(Method::GET, path, None).await.0, 401, "{path}");
    }
    assert_eq!(broker.ask(Method::GET, "/health", None).await.0, 200);
    broker.token = Some(READER);
    assert_eq!(broker.ask(Method::GET, "/api/v1/status", None).await.0, 200);
}

#[tokio::test]
async fn without_tokens_an_open_address_can_be_read_but_not_written() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[])
        .flags(&["--listen", "0.0.0.0:0"])
        .start()
        .await;
    broker.address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    assert_eq!(broker.ask(Method::GET, "/api/v1/status", None).await.0, 200);
    let (status, answer) = broker
        .post("/api/v1/publish", &json!({"subject": "a.b", "message": 1}))
        .await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        status == 403 && message.contains("--tokens-file"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_to_wait() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[])
        .flags(&["--requests-per-ip", "1"])
        .start()
        .await;
    until("a refusal", async || {
        let (status, answer) = broker.ask(Method::GET, "/health", None).await;
        holds(
            status == 429 && answer["error"]["code"] == "rate_limited",
            || status.to_string(),
        )
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_a_place_no_longer_than_the_deadline() {
    if !has_nats() {
        return;
    }
    let flags = ["--request-deadline-ms", "1000", "--requests-max", "1"];
    let broker = Setup::new(&[], &[]).flags(&flags).start().await;
    let mut slow = TcpStream::connect(broker.address).expect("it listens");
    slow.set_read_timeout(Some(testkit::wait::DEADLINE))
        .expect("a socket");
    let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).expect("it takes");
    until("the one place is taken", async || {
        let (status, answer) = broker.ask(Method::GET, "/api/v1/openapi.json", None).await;
        holds(status == 503 && answer["error"]["code"] == "busy", || {
            status.to_string()
        })
    })
    .await;
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).expect("it is answered");
    assert_eq!(&answer[9..], b"504");
    until("the place is free", async || {
        let (status, _) = broker.ask(Method::GET, "/health", None).await;
        holds(status == 200, || status.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_said_no_publication_is_taken_for_stored_and_a_restart_mends_it() {
    if !has_nats() {
        return;
    }
    let mut setup = Setup::new(
        &[],
        &["jetstream_max_storage: 1GB", "sync_interval: always"],
    );
    std::fs::create_dir(setup.data_dir()).expect("the directory can be written");
    let disk = match SmallDisk::mount(&setup.data_dir(), 24 << 20) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    setup.enter = Some(disk.enter());
    let broker = setup.start().await;
    broker.publish("market.v.X.trade", &json!("before")).await;
    disk.fill();
    let large = json!({"subject": "market.v.X.trade", "message": "x".repeat(100_000)});
    until("a health that says it", async || {
        let (published, _) = broker.post("/api/v1/publish", &large).await;
        let (status, health) = broker.ask(Method::GET, "/health", None).await;
        holds(published >= 500 && status == 503, || {
            format!("{published} {health}")
        })
    })
    .await;
    let (_, health) = broker.ask(Method::GET, "/health", None).await;
    let problems = health["problems"].to_string();
    assert!(problems.contains("/api/v1/nats/restart"), "{health}");
    let errors = broker.get("/api/v1/status").await["message_stats"]["errors"].as_u64();
    assert!(errors.is_some_and(|errors| errors > 0));
    disk.free();
    let (status, _) = broker.ask(Method::POST, "/api/v1/nats/restart", None).await;
    assert_eq!(status, 202);
    until("it stores again", async || {
        let (status, answer) = broker.post("/api/v1/publish", &large).await;
        holds(status == 200 && answer["stream"] == "MARKET_DATA", || {
            answer.to_string()
        })
    })
    .await;
}

#[tokio::test]
async fn while_the_server_stands_still_requests_end_with_an_error_in_time() {
    if !has_nats() {
        return;
    }
    let server = NatsServer::start().expect("it starts");
    let mut setup = Setup::new(&["auto_start_nats: false"], &[]);
    setup
        .yaml
        .push_str(&format!("    nats_url: \"{}\"\n", server.url()));
    let broker = setup.start().await;
    server.suspend();
    let body = json!({"subject": "market.a", "message": 1});
    // On a busy host the server answers for a moment after the signal, and so does the health.
    until("publications end with an error", async || {
        let (status, answer) = broker.post("/api/v1/publish", &body).await;
        holds(status == 503 || status == 504, || answer.to_string())
    })
    .await;
    until("the health is an error", async || {
        let (status, health) = broker.ask(Method::GET, "/health", None).await;
        holds(status == 503 || status == 504, || health.to_string())
    })
    .await;
    server.resume();
    until("it works again", async || {
        let (status, answer) = broker.post("/api/v1/publish", &body).await;
        holds(status == 200, || answer.to_string())
    })
    .await;
}

#[tokio::test]
async fn without_jetstream_messages_are_passed_on_and_nothing_is_kept() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &["jetstream_enabled: false"]).start().await;
    let answer = broker.publish("market.a", &json!("x")).await;
    assert_eq!(answer["stream"], Value::Null);
    assert_eq!(broker.get("/api/v1/streams").await["streams"], json!([]));
    assert_eq!(broker.ask(Method::GET, "/health", None).await.0, 200);
}

#[tokio::test]
async fn users_log_in_with_any_password_and_nobody_gets_in_without() {
    if !has_nats() {
        return;
    }
    let nats = [
        "users:",
        "  - user: 'pro\"ducer'",
        "    password: 'p\"$2a$\\ }x'",
        "    permissions: {publish: [\"market.>\"]}",
    ];
    let broker = Setup::new(&[], &nats)
        .flags(&["--published-log-lines-max", "0"])
        .start()
        .await;
    let port = broker.setup.nats_port;
    let connect = async |login: &str| {
        let config = BusConfig {
            bus: format!("nats://{login}127.0.0.1:{port}")
                .parse()
                .expect("an address"),
            ..BusConfig::default()
        };
        bus::connect(&config, &[]).await
    };
    let producer = connect("pro%22ducer:p%22%242a%24%5C%20%7Dx@")
        .await
        .expect("it may log in");
    // The server takes the messages of a connection in their order, and refuses the first one.
    for subject in ["service.v", "market.v.X.trade"] {
        let sent = producer.publish(subject, "1".into()).await;
        sent.expect("the server refuses in silence");
    }
    broker.until_messages("MARKET_DATA", 1).await;
    assert_eq!(broker.stream("SERVICE_LOGS").await["messages"], 0);
    assert!(connect("").await.is_err());
    assert!(connect("klinecast-broker:guess@").await.is_err());
    assert!(connect("anonymous:@").await.is_err());
    let config = broker.setup.data_dir().join("nats-server.conf");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(config).expect("it is there"));
    assert_eq!(mode & 0o077, 0, "others cannot read the passwords");
}
