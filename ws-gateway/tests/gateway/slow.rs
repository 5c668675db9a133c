//! Clients that read slowly, or never.

use ws_gateway::Config;

use crate::support::{Bar, closed, forming, start, until};

/// Long enough that a few fill the socket's buffers.
const PAD: usize = 20_000;

/// The recorder is shared by all tests of a process, and these look for the same counters.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn config() -> Config {
    Config {
        shards: 1,
        linger_ms: 1,
        flush_interval_ms: 1,
        send_buffer_bytes: 16 * 1024,
        closed_hold_ms: 0,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_evicted_with_4000_and_others_get_everything() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let config = Config {
        write_deadline_ms: 300,
        ..config()
    };
    let gateway = start(config).await.ready().await;
    let mut slow = gateway.connect_narrow().await;
    slow.subscribe(&["kline:1s:A-B"]).await;
    let mut quick = gateway.connect().await;
    quick.subscribe(&["kline:1s:A-B"]).await;
    let before = gateway.metric("gateway_evictions_total", &["slow_consumer"]);
    let mut seq = 0;
    // The slow one reads nothing; the quick one gets each bar before the next is published.
    while gateway.metric("gateway_evictions_total", &["slow_consumer"]) == before {
        seq += 1;
        gateway.publish(&forming(1, seq).padded(PAD)).await;
        assert_eq!(quick.object().await["seq"], seq);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(seq < 20_000, "never evicted");
    }
    // Its buffers hold old frames; at their end there is the close frame or a broken connection.
    assert!([4000, 1006].contains(&slow.close_code().await));
}

#[tokio::test]
async fn a_stalled_client_is_told_what_it_missed_and_ends_with_the_newest() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let gateway = start(config()).await.ready().await;
    let mut slow = gateway.connect_narrow().await;
    slow.subscribe(&["kline:1s:A-B"]).await;
    let mut quick = gateway.connect().await;
    quick.subscribe(&["kline:1s:A-B"]).await;
    // Forming bars until the slow client's buffers are full and stay so.
    let (mut seq, mut refused_in_a_row) = (0, 0);
    while refused_in_a_row < 20 {
        let before = gateway.metric("gateway_stalled_sends_total", &[]);
        seq += 1;
        gateway.publish(&forming(0, seq).padded(PAD)).await;
        assert_eq!(quick.object().await["seq"], seq);
        // The counts are reported after the flush.
        gateway
            .connect_to("/ws?topics=system:b")
            .await
            .frame()
            .await;
        let is_refused = gateway.metric("gateway_stalled_sends_total", &[]) > before;
        refused_in_a_row = if is_refused { refused_in_a_row + 1 } else { 0 };
        assert!(seq < 20_000, "never stalled");
    }
    // Then more closed bars than the gateway holds.
    let mut last = Bar::clone(&forming(0, 0));
    for index in 0..50 {
        seq += 1;
        last = closed(index, seq);
        gateway.publish_closed(&last).await;
        assert_eq!(quick.object().await["seq"], seq);
    }
    let (mut skipped, mut bars) = (0, Vec::new());
    while bars.last() != Some(&(last.index * 1_000)) {
        let object = slow.object().await;
        skipped += object["skipped"].as_u64().unwrap_or(0);
        if object["state"] == "closed" {
            bars.push(object["start_ms"].as_i64().unwrap());
        }
    }
    assert!(bars.is_sorted());
    assert_eq!(bars.len() as u64 + skipped, 50);
    assert!(skipped > 0, "more than the gateway holds were published");
    // It is well again.
    gateway.publish(&forming(50, seq + 1)).await;
    assert_eq!(slow.object().await["seq"], seq + 1);
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_not_read_and_evicted() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let config = Config {
        write_deadline_ms: 300,
        message_rate: 0,
        ..config()
    };
    let gateway = start(config).await.ready().await;
    for number in 0..20 {
        let bar = forming(1, 1).of(&format!("S{number}-B")).padded(PAD);
        gateway.publish(&bar).await;
        gateway.knows(&bar).await;
    }
    let before = gateway.metric("gateway_evictions_total", &["slow_consumer"]);
    let mut client = gateway.connect_narrow().await;
    let asking = tokio::spawn(async move {
        // Each asks for more than a MiB.
        use futures_util::SinkExt;
        loop {
            let text = r#"{"op":"sub","topics":["kline:1s:*"]}"#;
            let message = tokio_tungstenite::tungstenite::Message::Text(text.into());
            if client.socket.send(message).await.is_err() {
                return;
            }
        }
    });
    until("eviction", || {
        gateway.metric("gateway_evictions_total", &["slow_consumer"]) > before
    })
    .await;
    asking.abort();
}
