//! Sessions and their sockets, without a gateway around them.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use market_core::protocol::RequestLimits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::*;
use crate::Config;
use crate::connection::receive::drain_writes;
use crate::connection::settings::Settings;
use crate::limits::Limits;
use crate::sessions::outlet::Sent;
use client_frames::encode::encoding::Encoding;

const DEADLINE: Duration = Duration::from_secs(20);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_session_whose_task_panics_gives_its_place_back_and_leaves_its_shard() {
    let config = Config::default();
    let limits = Arc::new(Limits::new(config.limits(), None));
    let settings = Arc::new(Settings::new(config.connection(), Arc::default(), None));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    // With room in the shard's queue, and without.
    for waiting in 0..2 {
        let (shard, mut commands) = mpsc::channel(1);
        let stream = TcpStream::connect(address).await.expect("connected");
        let encoding = Encoding::default();
        let connection = Arc::new(Connection::new(
            stream,
            Arc::clone(&settings),
            encoding,
            CLIENT,
        ));
        let permit = limits.begin_session(address.ip()).expect("room");
        for _ in 0..waiting {
            let shed = Command::Shed(0, Duration::ZERO);
            shard.send(shed).await.expect("room");
        }
        let guard = SessionGuard::new(Arc::clone(&connection), shard, permit);
        let session = tokio::spawn(async move {
            let _guard = guard;
            panic!("on purpose");
        });
        assert!(session.await.is_err_and(|error| error.is_panic()));
        assert_eq!(limits.session_count(), 0);
        for _ in 0..waiting {
            commands.recv().await.expect("what waited");
        }
        let left = timeout_at(tokio::time::Instant::now() + DEADLINE, commands.recv());
        let Ok(Some(Command::Leave(left))) = left.await else {
            panic!("the shard is told nothing");
        };
        assert!(Arc::ptr_eq(&left, &connection));
    }
}

#[tokio::test]
async fn a_socket_that_has_room_again_is_not_slow_however_late_it_is_looked_at() {
    let config = Config {
        write_deadline_ms: 50,
        ..Config::default()
    };
    let settings = Arc::new(Settings::new(config.connection(), Arc::default(), None));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let mut client = std::net::TcpStream::connect(address).expect("connected");
    client.set_nonblocking(true).expect("a socket");
    let (stream, _) = listener.accept().await.expect("a client");
    let connection = Connection::new(stream, settings, Encoding::default(), CLIENT);
    connection.stream.writable().await.expect("connected");
    let update = [Bytes::from(vec![0; 1_024])];
    while connection.send(&update) == Sent::Written {}
    assert!(connection.write_buffer().is_pending());
    let mut drained = std::pin::pin!(drain_writes(&connection));
    let polled = poll_fn(|context| Poll::Ready(drained.as_mut().poll(context))).await;
    assert!(polled.is_pending(), "the client has read nothing");
    // The process stands still: the client reads all of it, and time passes.
    let stands_until = Instant::now() + Duration::from_millis(config.write_deadline_ms);
    let mut bytes = vec![0; 1 << 20];
    while client.read(&mut bytes).is_ok() || Instant::now() <= stands_until {}
    assert_eq!(drained.await, Ok(()));
}

#[tokio::test]
async fn each_end_of_a_session_is_in_the_log_with_its_number_and_its_reason() {
    let log = testkit::log::Log::start();
    let config = Config {
        close_ms: 1,
        ..Config::default()
    };
    let settings = Arc::new(Settings::new(config.connection(), Arc::default(), None));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let ends = [
        (End::ByClient(1000), 1000, "by_client"),
        (End::Broken, 1006, "broken"),
        (End::Close(CloseCode::SLOW_CONSUMER), 4000, "slow_consumer"),
        (End::Close(CloseCode::TOO_BIG), 1009, "message_too_big"),
    ];
    for (end, _, _) in ends {
        let _client = TcpStream::connect(address).await.expect("connected");
        let (stream, _) = listener.accept().await.expect("a client");
        let settings = Arc::clone(&settings);
        let connection = Connection::new(stream, settings, Encoding::default(), CLIENT);
        if end == End::Close(CloseCode::SLOW_CONSUMER) {
            // The client reads nothing.
            let update = [Bytes::from(vec![0; 1_024])];
            while connection.send(&update) == Sent::Written {}
            while connection.write_buffer().waiting(Instant::now()) < Duration::from_millis(2) {}
        }
        finish(&connection, end).await;
        if matches!(end, End::Close(_)) {
            // It closes already, and ends once.
            connection.close(CloseCode::DRAIN);
        }
    }
    let events = log.events("session ends");
    assert_eq!(events.len(), ends.len(), "{events:?}");
    for (number, (event, (_, code, reason))) in events.iter().zip(ends).enumerate() {
        assert_eq!(event["session_id"], number + 1, "{event}");
        assert_eq!(
            (&event["close_code"], &event["close_reason"]),
            (&code.into(), &reason.into())
        );
        let has_lag = event["lag_ms"].as_u64() > Some(0);
        assert_eq!(has_lag, reason == "slow_consumer", "{event}");
    }
}

#[test]
fn a_request_costs_by_its_wildcards_and_its_topics_however_they_are_written() {
    let limits = RequestLimits::default();
    let cost_of = |text: &str| cost(&Request::parse(text, limits));
    let texts = |count: usize, text: &str| vec![format!("\"{text}\""); count].join(",");
    for op in ["sub", "unsub"] {
        for (count, text, expected) in [
            (1, "kline:1m:A-B", 1),
            (1_000, "kline:1m:A-B", 11),
            (9, "kline:1m:*", 1),
            (50, "kline:1m:*", 6),
        ] {
            let topics = texts(count, text);
            let request = format!(r#"{{"op":"{op}","topics":[{topics}]}}"#);
            assert_eq!(cost_of(&request), expected, "{op} of {count} times {text}");
        }
        let symbols = texts(50, "A-B");
        let request = format!(
            r#"{{"op":"{op}","channels":["kline_1m"],"symbols":[{symbols}],"exchanges":["*"]}}"#
        );
        assert_eq!(cost_of(&request), 6, "{op} of any exchange");
    }
    assert_eq!(cost_of(r#"{"op":"list"}"#), 10);
}

#[test]
fn what_is_no_topic_costs_as_much_as_what_is_one() {
    let limits = RequestLimits::default();
    let of = |op: &str, symbol: &str| {
        let symbols = vec![symbol; limits.topics_max];
        let request = serde_json::json!({"op": op, "channels": ["kline_1m"], "symbols": symbols});
        cost(&Request::parse(&request.to_string(), limits))
    };
    for op in ["sub", "unsub"] {
        let good = of(op, "BTC-USD");
        assert!(good > 1);
        assert_eq!(of(op, "no symbol"), good, "{op}");
    }
}

#[test]
fn an_idle_session_is_small() {
    fn bytes_of<F: Future>(_: impl FnOnce(SessionGuard, SessionStart) -> F) -> usize {
        size_of::<F>()
    }
    let session_bytes = bytes_of(session);
    assert!(
        session_bytes <= 1_024,
        "a session's task holds {session_bytes} bytes"
    );
    let connection_bytes = size_of::<Connection>();
    assert!(
        connection_bytes <= 192,
        "a connection holds {connection_bytes} bytes"
    );
    // Only of who may compress.
    assert!(size_of::<crate::connection::inflate_reader::InflateReader>() <= 128);
}
