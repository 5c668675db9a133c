//! Tokens: where they come from, what they permit, and how they end.

use serde_json::{Value, json};
use tokio::time::timeout;
use ws_gateway::{AuthConfig, AuthMode, Config, TokenConfig};

use crate::support::{Client, DEADLINE, Gateway, Got, forming, start, until};
use testkit::mint::{Issuer, KeyFile, key_set, now_s};

const SECRET: &[u8] = b"a secret of the tests, for nothing else";

struct World {
    gateway: Gateway,
    issuer: Issuer,
    jwks: KeyFile,
    _secret: KeyFile,
}

async fn world(change: impl FnOnce(&mut Config)) -> World {
    let issuer = Issuer::eddsa("first");
    let jwks = KeyFile::new(key_set(&[&issuer]));
    let secret = KeyFile::new(SECRET);
    let mut config = Config {
        auth: AuthConfig {
            tokens: TokenConfig {
                auth_mode: AuthMode::Required,
                auth_jwks_file: jwks.path(),
                auth_hs256_secret_file: secret.path(),
                auth_leeway_s: 0,
                auth_keys_check_ms: 20,
                ..TokenConfig::default()
            },
            ..AuthConfig::default()
        },
        ..Config::default()
    };
    change(&mut config);
    World {
        gateway: start(config).await.ready().await,
        issuer,
        jwks,
        _secret: secret,
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn auth(token: &str) -> String {
    json!({"op": "auth", "id": 7, "token": token}).to_string()
}

/// Tries until it is so.
async fn in_time(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let tried = timeout(DEADLINE, async { while !is_so().await {} });
    assert!(tried.await.is_ok(), "never came: {what}");
}

/// Subscribes to what may and what may not be seen.
async fn check_permitted(client: &mut Client) {
    client
        .send(r#"{"op":"sub","id":1,"topics":["kline:1s:A-B","kline:1s:C-D","kline:>"]}"#)
        .await;
    let error = client.object().await;
    assert_eq!(error["code"], "forbidden");
    assert_eq!(error["topics"], json!(["kline:1s:C-D", "kline:>"]));
    assert_eq!(client.object().await["topics"], json!(["kline:1s:A-B"]));
}

#[tokio::test]
async fn a_token_is_taken_from_header_query_cookie_or_first_frame() {
    let world = world(|config| {
        config.auth.tokens.auth_cookie = Some("sid".to_owned());
        config.auth.allowed_origins = vec!["https://app.example.com".parse().unwrap()];
    })
    .await;
    let exp = now_s() + 100;
    let claims = json!({"exp": exp, "klinecast": {"topics": ["kline:1s:A-B"]}});
    let token = world.issuer.token(&claims);
    let cookie = format!("a=b; sid={token}");
    let page = ("origin", "https://app.example.com");
    for (path, headers) in [
        ("/ws".to_owned(), vec![("authorization", bearer(&token))]),
        (format!("/ws?token={token}"), Vec::new()),
        ("/ws".to_owned(), vec![("cookie", cookie.clone())]),
    ] {
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain([page])
            .collect();
        let mut client = world.gateway.connect_as(&path, &headers).await;
        let ack = json!({"op": "ack", "expires_ms": exp * 1_000});
        assert_eq!(client.object().await, ack, "{path}");
        check_permitted(&mut client).await;
    }
    let mut client = world.gateway.connect().await;
    client.send(&auth(&token)).await;
    let ack = json!({"op": "ack", "id": 7, "expires_ms": exp * 1_000});
    assert_eq!(client.object().await, ack);
    check_permitted(&mut client).await;
    // Another site's page has its visitor's cookie, too.
    let other = [("cookie", cookie.as_str()), ("origin", "https://evil.org")];
    assert_eq!(world.gateway.refused("/ws", &other).await.status(), 403);
}

#[tokio::test]
async fn a_handshake_can_authenticate_and_subscribe() {
    let world = world(|_| {}).await;
    let token = world.issuer.permit(&["kline:1s:*"], 100);
    let path = format!("/ws?topics=kline:1s:A-B,system:feed:okx&token={token}");
    let mut client = world.gateway.connect_to(&path).await;
    assert!(client.object().await["expires_ms"].is_u64());
    assert_eq!(client.object().await["topics"], json!(["system:feed:okx"]));
    assert_eq!(client.object().await["topics"], json!(["kline:1s:A-B"]));
    world.gateway.publish(&forming(1, 1)).await;
    assert_eq!(client.object().await["topic"], "kline:1s:A-B");
}

#[tokio::test]
async fn each_algorithm_is_taken_with_its_own_key_only() {
    let world = world(|_| {}).await;
    let (rs256, es256) = (Issuer::rs256("r"), Issuer::es256("e"));
    let hs256 = Issuer::hs256(SECRET);
    world.jwks.write(key_set(&[&world.issuer, &rs256, &es256]));
    let last = world
        .gateway
        .url(&format!("/ws?token={}", es256.permit(&["a:b"], 100)));
    in_time("the last key is read", async || {
        tokio_tungstenite::connect_async(&last).await.is_ok()
    })
    .await;
    for issuer in [&world.issuer, &rs256, &es256, &hs256] {
        let token = bearer(&issuer.permit(&["a:b"], 100));
        let headers = [("authorization", token.as_str())];
        let mut client = world.gateway.connect_as("/ws", &headers).await;
        assert_eq!(client.object().await["op"], "ack", "{}", issuer.algorithm());
    }
    let claims = json!({"exp": now_s() + 100});
    let public = rs256.jwk().to_string();
    let forged = [
        // The public key as a secret, no signature at all, and another key's name.
        Issuer::hs256(public.as_bytes()).token(&claims),
        hs256.token_with(&json!({"alg": "none"}), &claims),
        es256.token_with(&json!({"alg": "RS256", "kid": "r"}), &claims),
        rs256.token_with(&json!({"alg": "RS512", "kid": "r"}), &claims),
        Issuer::eddsa("first").token(&claims),
        Issuer::eddsa("other").token(&claims),
    ];
    for token in forged {
        let headers = [("authorization", &*bearer(&token))];
        assert_eq!(world.gateway.refused("/ws", &headers).await.status(), 401);
    }
}

#[tokio::test]
async fn a_bad_handshake_token_is_answered_with_the_reason_and_counted() {
    let world = world(|config| {
        config.auth.tokens.auth_issuer = vec!["https://id".to_owned()];
        config.auth.tokens.auth_audience = vec!["bars".to_owned()];
    })
    .await;
    let good = json!({"exp": now_s() + 100, "iss": "https://id", "aud": "bars"});
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        world.issuer.token(&claims)
    };
    for (token, outcome, word) in [
        (with("exp", json!(now_s() - 10)), "expired", "expired"),
        (with("nbf", json!(now_s() + 50)), "not_yet_valid", "yet"),
        (with("iss", json!("https://x")), "issuer", "iss"),
        (with("aud", json!("x")), "audience", "aud"),
        (with("klinecast", json!(7)), "claims", "claim"),
        ("x".to_owned(), "malformed", "JWT"),
        (String::new(), "malformed", "JWT"),
        ("x".repeat(4_097), "too_long", "too long"),
    ] {
        let label = format!("outcome=\"{outcome}\"");
        let count = || {
            world
                .gateway
                .metric("gateway_auth_total", &[&label, "\"query\""])
        };
        let before = count();
        let answer = world
            .gateway
            .refused(&format!("/ws?token={token}"), &[])
            .await;
        assert_eq!(answer.status(), 401, "{outcome}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer realm=") && challenge.contains("invalid_token"));
        assert!(answer.body().contains(word), "{}", answer.body());
        assert!(count() > before, "{outcome}");
        if token.len() > 10 {
            assert!(!answer.body().contains(&token) && !challenge.contains(&token));
        }
    }
    let token = world.issuer.token(&good);
    let twice = [("authorization", &*bearer(&token))];
    let answer = world
        .gateway
        .refused(&format!("/ws?token={token}"), &twice)
        .await;
    assert_eq!(answer.status(), 401);
    assert!(
        world
            .gateway
            .metric("gateway_handshake_failures_total", &["\"token\""])
            >= 9.0
    );
}

#[tokio::test]
async fn where_a_token_is_required_it_comes_first_and_in_time() {
    let world = world(|config| config.first_message_ms = 500).await;
    let mut client = world.gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    assert_eq!(client.object().await["code"], "auth_required");
    let Got::Closed(code, reason) = client.next().await else {
        panic!("a close");
    };
    assert_eq!(code, 4003);
    assert!(reason.contains("token"), "{reason}");
}

#[tokio::test]
async fn where_a_token_is_optional_there_are_topics_without_one() {
    let world = world(|config| {
        config.auth.tokens.auth_mode = AuthMode::Optional;
        config.auth.tokens.auth_anonymous_topics = vec!["kline:1s:A-B".parse().unwrap()];
        config.auth.tokens.auth_default_topics = vec!["*:>".parse().unwrap()];
    })
    .await;
    world.gateway.publish(&forming(1, 1).of("C-D")).await;
    let mut client = world.gateway.connect().await;
    check_permitted(&mut client).await;
    client.send(r#"{"op":"list"}"#).await;
    assert_eq!(client.object().await["topics"], json!([]));
    let token = world.issuer.token(&json!({"exp": now_s() + 100}));
    client.send(&auth(&token)).await;
    assert!(client.object().await["expires_ms"].is_u64());
    client.subscribe(&["kline:>"]).await;
    assert_eq!(client.object().await["topic"], "kline:1s:C-D");
    client.send(r#"{"op":"list"}"#).await;
    assert_eq!(client.object().await["topics"], json!(["kline:1s:C-D"]));
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_another_came() {
    let world = world(|_| {}).await;
    let short = world.issuer.permit(&["kline:1s:*"], 5);
    let (mut ending, mut staying) = (
        world
            .gateway
            .connect_to(&format!("/ws?token={short}"))
            .await,
        world
            .gateway
            .connect_to(&format!("/ws?token={short}"))
            .await,
    );
    for client in [&mut ending, &mut staying] {
        client.object().await;
        client.subscribe(&["kline:1s:*", "kline:1s:A-B"]).await;
    }
    let narrow = world.issuer.permit(&["kline:1s:A-B"], 100);
    staying.send(&auth(&narrow)).await;
    let ack = staying.object().await;
    assert_eq!(ack["unsubscribed"], json!(["kline:1s:*"]));
    let Got::Closed(code, reason) = ending.next().await else {
        panic!("a close");
    };
    assert_eq!(code, 4005);
    assert!(reason.contains("expired"), "{reason}");
    world.gateway.publish(&forming(1, 1).of("C-D")).await;
    world.gateway.publish(&forming(1, 1)).await;
    assert_eq!(staying.object().await["topic"], "kline:1s:A-B");
}

#[tokio::test]
async fn the_end_is_announced() {
    let world = world(|config| config.auth.auth_notice_ms = 7_000).await;
    let token = world.issuer.permit(&["a:b"], 12);
    let mut client = world
        .gateway
        .connect_to(&format!("/ws?token={token}"))
        .await;
    let expires_ms = client.object().await["expires_ms"].clone();
    let notice = json!({"op": "auth_expiring", "expires_ms": expires_ms});
    assert_eq!(client.object().await, notice);
}

#[tokio::test]
async fn keys_rotate_without_a_restart_and_a_broken_file_changes_nothing() {
    let world = world(|_| {}).await;
    let next = Issuer::eddsa("next");
    let connects = async |issuer: &Issuer| {
        let path = format!("/ws?token={}", issuer.permit(&["a:b"], 100));
        tokio_tungstenite::connect_async(world.gateway.url(&path))
            .await
            .is_ok()
    };
    assert!(connects(&world.issuer).await && !connects(&next).await);
    world.jwks.write(key_set(&[&world.issuer, &next]));
    in_time("the new key is read", async || connects(&next).await).await;
    assert!(connects(&world.issuer).await);
    let failed = || {
        world
            .gateway
            .metric("gateway_auth_key_reloads_total", &["failed"])
    };
    let before = failed();
    world.jwks.write("{\"keys\": [{\"kty\": \"RSA\"");
    until("the broken file is seen", || failed() > before).await;
    assert!(connects(&world.issuer).await && connects(&next).await);
    world.jwks.write(key_set(&[&next]));
    in_time("the old key is gone", async || {
        !connects(&world.issuer).await
    })
    .await;
    assert!(connects(&next).await);
}

#[tokio::test]
async fn an_address_with_too_many_bad_tokens_has_to_wait_and_others_do_not() {
    let world = world(|config| {
        config.auth.tokens.auth_failures_per_ip = Some(2);
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let good = world.issuer.permit(&["a:b"], 100);
    let bad = format!("{good}x");
    let from = |ip: &'static str| [("x-forwarded-for", ip)];
    let status = async |token: &str, ip| {
        let path = format!("/ws?token={token}");
        let answer = world.gateway.refused(&path, &from(ip)).await;
        let has_retry = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), has_retry)
    };
    assert_eq!(status(&bad, "1.1.1.1").await, (401, false));
    assert_eq!(status(&bad, "1.1.1.1").await, (401, false));
    // One is forgiven each second.
    in_time("no more is looked at", async || {
        status(&bad, "1.1.1.1").await == (429, true)
    })
    .await;
    let path = format!("/ws?token={good}");
    let mut client = world.gateway.connect_as(&path, &from("1.1.1.2")).await;
    assert_eq!(client.object().await["op"], "ack");
    // In frames, too: three are answered at most.
    let mut client = world.gateway.connect_as("/ws", &from("1.1.1.3")).await;
    for _ in 0..2 {
        client.send(&auth(&bad)).await;
        let error = client.object().await;
        assert_eq!(
            (&error["code"], &error["id"]),
            (&json!("invalid_token"), &json!(7))
        );
    }
    client.send(&auth(&bad)).await;
    assert_eq!(client.object().await["code"], "invalid_token");
    assert_eq!(client.close_code().await, 4003);
}

#[tokio::test]
async fn tokens_count_for_several_messages_each() {
    let world = world(|config| {
        config.message_rate = 1;
        config.message_burst = 20;
    })
    .await;
    let token = world.issuer.permit(&["a:b"], 100);
    let mut client = world.gateway.connect().await;
    let mut acks = 0;
    let code = loop {
        client.send(&auth(&token)).await;
        match client.next().await {
            Got::Frame(_) => acks += 1,
            Got::Closed(code, _) => break code,
            Got::Lost => panic!("a close"),
        }
    };
    assert_eq!(code, 4002);
    // Twenty messages at once, and one each second.
    assert!((4..20).contains(&acks), "{acks} tokens were taken");
}

#[tokio::test]
async fn a_configuration_that_would_be_unsafe_does_not_start() {
    let keys = KeyFile::new(key_set(&[&Issuer::eddsa("first")]));
    let broken = KeyFile::new("{");
    let tokens = TokenConfig {
        auth_mode: AuthMode::Required,
        auth_jwks_file: keys.path(),
        ..TokenConfig::default()
    };
    for (tokens, word) in [
        (
            TokenConfig {
                auth_cookie: Some("sid".to_owned()),
                ..tokens.clone()
            },
            "--allowed-origins",
        ),
        (
            TokenConfig {
                auth_mode: AuthMode::Off,
                ..tokens.clone()
            },
            "--auth-mode",
        ),
        (
            TokenConfig {
                auth_jwks_file: broken.path(),
                ..tokens
            },
            "not a JWK set",
        ),
    ] {
        let config = Config {
            auth: AuthConfig {
                tokens,
                ..AuthConfig::default()
            },
            ..Config::default()
        };
        let error = start(config).await.task.await.unwrap().expect_err(word);
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.is_retryable());
    }
}
