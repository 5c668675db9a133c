//! What stands in the way of a connection, and what its error says; what a shared server must keep
//! apart.

use std::io::Write;
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use bus::{Bus, BusConfig, BusError, NatsBus, StreamStorage};
use bytes::Bytes;
use testkit::nats::NatsServerOptions;

use crate::setup::{connect, last_values, next_message, payload, server, streams, within};

fn config(address: &str) -> BusConfig {
    BusConfig {
        bus: address.parse().expect("the address is valid"),
        ..BusConfig::default()
    }
}

async fn refusal(config: &BusConfig) -> BusError {
    match within("a refusal", NatsBus::connect(config, &streams())).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

async fn raw_client(url: &str) -> jetstream::Context {
    let client = async_nats::connect(url).await.expect("the server runs");
    jetstream::new(client)
}

#[tokio::test]
async fn unreachable_server_is_named_with_how_long_it_was_tried_and_what_to_check() {
    // Bound but not listening: nobody else can have the port, and it refuses.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a free port exists");
    let address = socket.local_addr().expect("bound");
    let mut config = config(&format!("nats://me:s3cret@{address}"));
    config.bus_connect_deadline_ms = 300;
    let error = refusal(&config).await;
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!(
            "no nats server reached at nats://{address} within 300 ms: connection refused; check \
             that nats-server runs there and that the address and port are right"
        )
    );
}

#[tokio::test]
async fn connect_waits_for_a_server_that_starts_late() {
    let Some(mut server) = server(NatsServerOptions::default()) else {
        return;
    };
    server.kill();
    let config = config(&server.url());
    let connecting = tokio::spawn(async move { NatsBus::connect(&config, &streams()).await });
    tokio::task::yield_now().await;
    server.restart().expect("the server starts");
    let connected = within("the connection", connecting).await;
    assert!(connected.expect("no panic").is_ok());
}

#[tokio::test]
async fn invalid_prefix_is_refused_at_connect() {
    let wrong = BusConfig {
        bus_prefix: "eu.*".to_owned(),
        ..BusConfig::default()
    };
    let error = bus::connect(&wrong, &streams())
        .await
        .err()
        .expect("it is refused");
    assert_eq!(
        error.to_string(),
        r#"bus prefix: invalid subject "eu.*": a wildcard can only be subscribed to"#
    );
}

#[tokio::test]
async fn server_without_jetstream_is_refused_with_how_to_enable_it() {
    let options = NatsServerOptions {
        jetstream: false,
        ..NatsServerOptions::default()
    };
    let Some(server) = server(options) else {
        return;
    };
    let error = refusal(&config(&server.url())).await;
    let text = error.to_string();
    assert!(
        matches!(error, BusError::JetStreamDisabled { .. }),
        "{text}"
    );
    assert!(text.contains("start it with `nats-server -js`"), "{text}");
    assert!(text.contains(&server.url()), "{text}");
}

#[tokio::test]
async fn stream_that_overlaps_ours_is_named() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let legacy = jetstream::stream::Config {
        name: "LEGACY".to_owned(),
        subjects: vec!["kline.1m.>".to_owned()],
        ..Default::default()
    };
    let context = raw_client(&server.url()).await;
    context.create_stream(legacy).await.expect("created");
    assert_eq!(
        refusal(&config(&server.url())).await.to_string(),
        "stream KLINE: its subjects kline.> overlap with those of stream LEGACY; delete that one, \
         or set a bus prefix"
    );
}

#[tokio::test]
async fn foreign_stream_of_our_name_is_left_alone() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let foreign = jetstream::stream::Config {
        name: "STATE".to_owned(),
        subjects: vec!["weather.>".to_owned()],
        ..Default::default()
    };
    let context = raw_client(&server.url()).await;
    context.create_stream(foreign).await.expect("created");
    let error = refusal(&config(&server.url())).await.to_string();
    assert!(
        error.contains("stream STATE: it exists and has subjects"),
        "{error}"
    );
    assert!(error.contains("weather.>"), "{error}");
    let stream = context.get_stream("STATE").await.expect("it is there");
    assert_eq!(stream.cached_info().config.subjects, ["weather.>"]);
}

#[tokio::test]
async fn running_stream_with_other_settings_is_updated_and_the_rest_of_it_kept() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let older = jetstream::stream::Config {
        name: "CLOSED".to_owned(),
        subjects: vec!["closed.>".to_owned()],
        max_messages_per_subject: 5,
        description: Some("kept".to_owned()),
        max_message_size: 1_000,
        ..Default::default()
    };
    let context = raw_client(&server.url()).await;
    context.create_stream(older).await.expect("created");
    connect(&server, BusConfig::default()).await;
    let stream = context.get_stream("CLOSED").await.expect("it is there");
    let config = &stream.cached_info().config;
    assert_eq!(config.max_messages_per_subject, 32);
    assert_eq!(config.description.as_deref(), Some("kept"));
    assert_eq!(config.max_message_size, 1_000);
}

#[tokio::test]
async fn storage_is_as_configured_and_a_change_that_the_server_refuses_is_named() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let mut config = config(&server.url());
    config.bus_storage = Some(StreamStorage::Memory);
    NatsBus::connect(&config, &streams())
        .await
        .expect("a new server");
    let context = raw_client(&server.url()).await;
    let stream = context.get_stream("CLOSED").await.expect("it is there");
    let storage = stream.cached_info().config.storage;
    assert_eq!(storage, jetstream::stream::StorageType::Memory);
    config.bus_storage = Some(StreamStorage::File);
    let error = refusal(&config).await;
    let text = error.to_string();
    assert!(matches!(error, BusError::StreamConflict { .. }), "{text}");
    assert!(
        text.contains(
            r#"stream CLOSED: the server refused to change storage from "memory" to "file""#
        ),
        "{text}"
    );
    config.bus_storage = None;
    NatsBus::connect(&config, &streams())
        .await
        .expect("without a wish the running stream stays as it is");
}

#[tokio::test]
async fn concurrent_first_connections_agree() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let config = config(&server.url());
    let streams = streams();
    let connecting = (0..8).map(|_| NatsBus::connect(&config, &streams));
    for connected in futures_util::future::join_all(connecting).await {
        connected.expect("each finds or makes the streams");
    }
}

#[tokio::test]
async fn payload_over_the_servers_bound_is_refused() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let bus = connect(&server, BusConfig::default()).await;
    let large = Bytes::from(vec![0; 2 << 20]);
    let error = bus.publish("market.a.b", large.clone()).await;
    assert_eq!(
        error.clone().expect_err("too large").to_string(),
        "payload of 2097152 bytes is too large, the bus takes 1048576"
    );
    assert_eq!(bus.publish_durable("state.a", large).await, error);
}

#[tokio::test]
async fn deployments_with_other_prefixes_do_not_see_each_other() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let bus_of = |prefix: &str| BusConfig {
        bus_prefix: prefix.to_owned(),
        ..BusConfig::default()
    };
    let europe = connect(&server, bus_of("eu.prod")).await;
    let america = connect(&server, bus_of("us.prod")).await;
    let plain = connect(&server, BusConfig::default()).await;
    let mut in_america = america.subscribe(">").await.expect("connected");
    let mut raw = plain.subscribe("*.prod.closed.>").await.expect("connected");
    europe
        .publish_durable("closed.1m.A", payload("europe"))
        .await
        .expect("stored");
    america
        .publish_durable("closed.1m.A", payload("america"))
        .await
        .expect("stored");
    assert_eq!(next_message(&mut in_america).await, "closed.1m.A=america");
    assert_eq!(next_message(&mut raw).await, "eu.prod.closed.1m.A=europe");
    assert_eq!(next_message(&mut raw).await, "us.prod.closed.1m.A=america");
    assert_eq!(last_values(&europe, ">").await, ["closed.1m.A=europe"]);
    assert_eq!(last_values(&america, ">").await, ["closed.1m.A=america"]);
    assert!(last_values(&plain, ">").await.is_empty());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("no panic under it").clone();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("no panic under it")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Connects with `address`, fails with `wrong_address`, loses the connection, and looks through
/// every log line of every library for the secret. One thread, so that the log sees all tasks.
async fn check_secret_stays_secret(options: NatsServerOptions, user_info: &str, wrong_info: &str) {
    let Some(mut server) = server(options) else {
        return;
    };
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let address_with = |info: &str| server.url().replace("//", &format!("//{info}@"));
    let error = refusal(&config(&address_with(wrong_info))).await;
    assert!(matches!(error, BusError::Unauthorized { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    let right = config(&address_with(user_info));
    assert!(!format!("{right:?}").contains("s3cret"));
    let bus: Arc<dyn Bus> = Arc::new(
        NatsBus::connect(&right, &streams())
            .await
            .expect("right credentials"),
    );
    let mut subscription = bus.subscribe("system.>").await.expect("connected");
    server.restart().expect("the server starts");
    let told = within("the reconnect", subscription.recv()).await;
    assert_eq!(told, Some(bus::Delivery::Reconnected));
    bus.drain().await.expect("connected");
    let text = log.text();
    assert!(text.contains("nats connection is back"), "the log works");
    assert!(text.contains("async_nats"), "the library's log is there");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn password_is_in_no_log_line_and_no_error() {
    let options = NatsServerOptions {
        user_password: Some(("me".to_owned(), "s3cret@1".to_owned())),
        ..NatsServerOptions::default()
    };
    check_secret_stays_secret(options, "me:s3cret%401", "me:s3cret-wrong").await;
}

#[tokio::test]
async fn token_is_in_no_log_line_and_no_error() {
    let options = NatsServerOptions {
        token: Some("s3cret-token".to_owned()),
        ..NatsServerOptions::default()
    };
    check_secret_stays_secret(options, "s3cret-token", "s3cret-wrong").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_deleted_while_connected_is_created_again() {
    let Some(server) = server(NatsServerOptions::default()) else {
        return;
    };
    let bus = connect(&server, BusConfig::default()).await;
    let context = raw_client(&server.url()).await;
    for (subject, name) in [
        ("closed.1m.A", "CLOSED"),
        ("state.marketdata.okx.A", "STATE"),
    ] {
        bus.publish_durable(subject, payload(1))
            .await
            .expect("connected");
        context.delete_stream(name).await.expect("it is there");
        bus.publish_durable(subject, payload(2))
            .await
            .expect("it is stored within its deadline");
        assert_eq!(last_values(&bus, subject).await, [format!("{subject}=2")]);
    }
    assert!(bus.is_connected());
}
