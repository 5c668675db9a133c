//! A NATS cluster that loses the leader of a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bus::BusConfig;
use testkit::nats::NatsServerError;
use testkit::nats::cluster::{MEMBERS, NatsCluster};

use crate::setup::{last_values, payload, streams, until, within};

const BARS: u32 = 400;
/// An election takes 4 to 9 s, and on a busy machine there may be several.
const ELECTIONS: Duration = Duration::from_secs(120);

fn start() -> Option<NatsCluster> {
    match NatsCluster::start() {
        Ok(cluster) => Some(cluster),
        Err(NatsServerError::NotFound) if std::env::var_os("KLINECAST_REQUIRE_NATS").is_none() => {
            println!("skipped: {}", NatsServerError::NotFound);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The name of the member that leads the stream of closed bars.
async fn leader_of_closed_bars(urls: &str) -> Option<String> {
    let servers: Vec<&str> = urls.split(',').collect();
    let client = async_nats::connect(servers).await.ok()?;
    let stream = async_nats::jetstream::new(client)
        .get_stream("CLOSED")
        .await;
    stream.ok()?.cached_info().cluster.as_ref()?.leader.clone()
}

/// JetStream's own deduplication cannot be relied upon around a change of leader
/// (nats-io/nats-server#6415, #7302, #7801): a bar may be stored twice, and readers take one of
/// each (key, rev). None may be lost or change its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_stored_while_the_streams_leader_is_killed_are_all_there_once_and_in_order() {
    let Some(mut cluster) = start() else { return };
    let config = BusConfig {
        bus: cluster.url().parse().expect("the urls are valid"),
        bus_durable_deadline_ms: ELECTIONS.as_millis() as u64,
        bus_replicas: Some(u8::try_from(MEMBERS).expect("few")),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &streams())
        .await
        .expect("the cluster runs");
    let stored = Arc::new(AtomicU32::new(0));
    let publishing = tokio::spawn({
        let (bus, stored) = (Arc::clone(&bus), Arc::clone(&stored));
        async move {
            for number in 0..BARS {
                // Each its own subject, for none is then pushed out by the depth.
                bus.publish_durable(&format!("closed.1m.{number:04}"), payload(number))
                    .await
                    .expect("stored once there is a leader again");
                stored.store(number + 1, Ordering::SeqCst);
            }
        }
    });
    let has_stored = |count: u32| stored.load(Ordering::SeqCst) >= count;
    until("some bars are stored", || has_stored(BARS / 4)).await;
    let leader = within("the leader", leader_of_closed_bars(&cluster.url()))
        .await
        .expect("the stream has a leader");
    let killed = cluster.member(&leader).expect("a member leads");
    killed.kill();
    let at_kill = stored.load(Ordering::SeqCst);
    assert!(
        at_kill < BARS,
        "all was stored before the leader was killed"
    );
    tokio::time::timeout(ELECTIONS, publishing)
        .await
        .expect("there is a leader again")
        .expect("no panic");
    let mut values = last_values(&bus, "closed.1m.*").await;
    values.dedup();
    let expected: Vec<String> = (0..BARS)
        .map(|number| format!("closed.1m.{number:04}={number}"))
        .collect();
    assert_eq!(values, expected);
    // The member comes back, and the stream has some leader.
    let killed = cluster.member(&leader).expect("it was there");
    killed.restart().expect("the server starts");
    bus.publish_durable("closed.1m.after", payload("after"))
        .await
        .expect("stored");
}
