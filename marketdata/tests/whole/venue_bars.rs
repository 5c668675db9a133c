//! Questions of other programs about a venue's own bars.

use std::time::Duration;

use bus::{BusError, Headers};
use market_core::subject;
use market_core::wire::archive::{ArchivePage, ArchiveQuery};
use marketdata::Config;
use marketdata::discovery::pattern::Wish;
use service::wall_clock_ms;

use crate::deployment::{Deployment, sim_config};

/// The newest bars of one second, asked of the publishers of a venue.
async fn newest(
    deployment: &Deployment,
    exchange: &str,
    symbol: &str,
) -> Result<ArchivePage, BusError> {
    let now_ms = wall_clock_ms();
    let query = ArchiveQuery {
        symbol: symbol.parse().expect("a symbol"),
        interval: "1s".parse().expect("a timeframe"),
        from_ms: now_ms - 30_000,
        to_ms: now_ms,
    };
    let question = serde_json::to_vec(&query).expect("JSON").into();
    let subject = subject::archive_bars(exchange);
    let requests = deployment.bus.requests();
    let waited = Duration::from_secs(10);
    let answer = requests.request(&subject, Headers::new(), question, waited);
    answer
        .await
        .map(|answer| serde_json::from_slice(&answer.payload).expect("a page"))
}

/// History asks the publishers of a venue as a group, and any of them may get the question.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_answers_for_the_symbols_that_others_publish_and_for_those_that_are_gone() {
    let mut deployment = Deployment::new(sim_config()).await;
    let config = Config {
        instruments: Wish::parse_list("binance:ETH-USDT").expect("valid"),
        ..deployment.config()
    };
    deployment.start(config);
    // The reader of the deployment hears questions that nobody answers: they wait in vain.
    deployment.more_seconds("ETH-USDT", 1).await;
    for symbol in ["ETH-USDT", "BTC-USDT"] {
        deployment
            .until("bars of a symbol of the venue", || async {
                match newest(&deployment, "binance", symbol).await {
                    Ok(page) => !page.bars.is_empty(),
                    Err(BusError::Refused { reason, .. }) => panic!("{symbol}: {reason}"),
                    // It does not serve yet.
                    Err(_) => false,
                }
            })
            .await;
    }
    deployment
        .until("a refusal of another venue's symbol", || async {
            match newest(&deployment, "binance", "OKX:BTC-USDT").await {
                Err(BusError::Refused { reason, .. }) => {
                    assert!(reason.contains("another venue"), "{reason}");
                    true
                }
                Err(_) => false,
                Ok(page) => panic!("{page:?}"),
            }
        })
        .await;
    // A symbol that was delisted has no bars. A refusal would be asked again for minutes.
    deployment
        .until("an answer without bars", || async {
            match newest(&deployment, "binance", "GONE-USDT").await {
                Ok(page) => {
                    assert_eq!((page.bars.len(), page.has_width), (0, true));
                    true
                }
                Err(BusError::Refused { reason, .. }) => panic!("{reason}"),
                Err(_) => false,
            }
        })
        .await;
    deployment.stop().await;
}
