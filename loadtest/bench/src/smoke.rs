//! The floor and the axum peer with a few clients, in one process: the published updates arrive.

use std::time::{Duration, Instant};

use crate::client::{Client, Command, Dialect, Seen, Spec};
use crate::feed::{Feed, Kind, Publisher};
use crate::workload::{Name, Workload};
use crate::{axum_peer, bind, floor};

const DEADLINE: Duration = Duration::from_secs(30);

fn wait_until(client: &Client, what: &str, is_met: impl Fn(&Seen) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = client.ask(Command::Status).expect("status");
        if is_met(&seen) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start_floor(framing: floor::Framing) -> (std::net::SocketAddr, std::net::SocketAddr) {
    let (listener, feed) = (bind().expect("port"), bind().expect("port"));
    let addresses = (
        listener.local_addr().expect("bound"),
        feed.local_addr().expect("bound"),
    );
    std::thread::spawn(move || floor::run(listener, feed, framing).expect("the floor serves"));
    addresses
}

fn start_axum() -> (std::net::SocketAddr, std::net::SocketAddr) {
    let (listener, feed) = (bind().expect("port"), bind().expect("port"));
    let addresses = (
        listener.local_addr().expect("bound"),
        feed.local_addr().expect("bound"),
    );
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async move {
            let open = |listener: std::net::TcpListener| {
                listener.set_nonblocking(true).expect("non-blocking");
                tokio::net::TcpListener::from_std(listener).expect("listener")
            };
            let source = axum_peer::Source::Records(open(feed));
            axum_peer::run(open(listener), source)
                .await
                .expect("the peer serves");
        });
    });
    addresses
}

#[track_caller]
fn check(
    (server, feed): (std::net::SocketAddr, std::net::SocketAddr),
    name: Name,
    frames_max: Option<u64>,
) {
    let workload = Workload {
        name,
        connections: 20,
        topics: 3,
        universe: if name == Name::Random { 9 } else { 3 },
        rate: 10.0,
        seconds: 1.0,
    };
    let spec = Spec {
        server,
        dialect: Dialect::Query,
        workload,
        first: 0,
        count: workload.connections,
        sources: 2,
    };
    let client = Client::start(spec).expect("client");
    wait_until(&client, "all connect", |seen| {
        seen.open == workload.connections
    });
    let mut publisher =
        Publisher::new(Feed::connect(Kind::Records, feed).expect("feed"), &workload);
    client.tell(Command::Window).expect("window");
    // The answer comes once the window has begun.
    client.ask(Command::Status).expect("status");
    let published = publisher
        .run(&workload, Duration::from_secs_f64(workload.seconds))
        .expect("published");
    let expected = workload.expected(&published.updates);
    assert!(expected > 0);
    wait_until(&client, "all is delivered", |seen| seen.updates >= expected);
    let seen = client.ask(Command::Report).expect("report");
    assert_eq!(seen.updates, expected);
    assert!(
        frames_max.is_none_or(|most| seen.frames <= most),
        "{seen:?}"
    );
    let mut latency = crate::histogram::Histogram::default();
    latency.merge(&seen.latency);
    assert!(latency.total() > 0 && latency.total() < expected);
    assert_eq!((seen.failed, seen.closed.len()), (0, 0));

    client.tell(Command::Storm(0.2)).expect("storm");
    wait_until(&client, "all reconnect", |seen| {
        seen.open == workload.connections
    });
    let mut handshake = crate::histogram::Histogram::default();
    let deadline = Instant::now() + DEADLINE;
    while handshake.total() < u64::from(workload.connections) {
        handshake = crate::histogram::Histogram::default();
        handshake.merge(&client.ask(Command::Report).expect("report").handshake);
        assert!(
            Instant::now() < deadline,
            "{} reconnected",
            handshake.total()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_floor_delivers_all_and_survives_a_storm() {
    check(start_floor(floor::Framing::Batch), Name::Shared, None);
}

#[test]
fn the_floor_delivers_order_books() {
    check(start_floor(floor::Framing::Batch), Name::Books, None);
}

#[test]
fn the_floor_gives_each_client_one_frame_a_tick() {
    // Ten ticks of twenty clients.
    check(start_floor(floor::Framing::Batch), Name::Burst, Some(200));
}

#[test]
fn the_floor_delivers_each_client_its_own_topics() {
    check(start_floor(floor::Framing::Single), Name::Random, None);
}

#[test]
fn the_axum_peer_delivers_all_and_survives_a_storm() {
    check(start_axum(), Name::Random, None);
}
