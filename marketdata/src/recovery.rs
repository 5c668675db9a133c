//! Continues after a restart: reads the last checkpoint of each symbol from the bus.

use std::collections::HashMap;
use std::time::Duration;

use bus::{Bus, BusError, Message, StreamSpec};
use bytes::Bytes;
use market_core::{Pipeline, PipelineConfig, Timeframe, subject};
use service::Shutdown;
use tracing::{error, info, warn};

use crate::instrument::Instrument;

const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Most symbols without a checkpoint whose bars are searched for on the bus.
const LOOKED_AT_MAX: usize = 20;

/// The checkpoints on the bus, by subject. Waits for a bus that is away.
///
/// # Errors
/// The error of a bus that will never answer, or that was drained.
pub async fn checkpoints(
    bus: &dyn Bus,
    shutdown: &Shutdown,
) -> Result<HashMap<String, Bytes>, BusError> {
    let mut by_subject = HashMap::new();
    for pattern in [subject::ALL_CHECKPOINTS, subject::ALL_REFUSED_CHECKPOINTS] {
        for message in last_values(bus, pattern, shutdown).await? {
            by_subject.insert(message.subject.to_string(), message.payload);
        }
    }
    Ok(by_subject)
}

/// The last values of `pattern`. Waits for a bus that is away.
///
/// # Errors
/// As [`checkpoints`].
pub async fn last_values(
    bus: &dyn Bus,
    pattern: &str,
    shutdown: &Shutdown,
) -> Result<Vec<Message>, BusError> {
    loop {
        match bus.last_values(pattern).await {
            Ok(messages) => return Ok(messages),
            Err(error) if error.is_retryable() && !shutdown.is_triggered() => {
                warn!(error = %error, "cannot read checkpoints yet, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes the bus keep a stream. Waits for a bus that is away.
///
/// # Errors
/// The error of the bus if it will never keep the stream, or was drained.
pub async fn put_stream(
    bus: &dyn Bus,
    stream: StreamSpec,
    shutdown: &Shutdown,
) -> Result<(), BusError> {
    loop {
        match bus.streams().put_stream(stream.clone()).await {
            Err(error) if error.is_retryable() && !shutdown.is_triggered() => {
                warn!(error = %error, root = stream.root, "the bus cannot keep a stream yet, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            result => return result,
        }
    }
}

/// A pipeline that continues from a checkpoint, or starts again.
#[derive(Debug)]
pub struct Restored {
    /// Restored, or new.
    pub pipeline: Pipeline,
    /// A checkpoint that could not be used, and the subject that keeps it. The next checkpoint of
    /// this program would overwrite it, although another build or other flags may be able to use it.
    pub refused: Option<(String, Bytes)>,
}

/// An instrument's pipeline. It is restored from its checkpoint, or from a checkpoint that an
/// earlier run refused and this run can read. Otherwise it is new.
#[must_use]
pub fn pipeline(
    instrument: &Instrument,
    config: &PipelineConfig,
    checkpoints: &HashMap<String, Bytes>,
) -> Restored {
    let (exchange, symbol) = (instrument.exchange, &instrument.symbol);
    let subject = subject::checkpoint(exchange, symbol);
    let refused_subject = subject::refused_checkpoint(&subject);
    let mut refused = None;
    for at in [&subject, &refused_subject] {
        let Some(checkpoint) = checkpoints.get(at) else {
            continue;
        };
        match Pipeline::restore(config, &subject, checkpoint) {
            Ok(pipeline) => {
                info!(
                    exchange,
                    symbol = symbol.as_str(),
                    next_id = pipeline.next_id(),
                    subject = at,
                    "continuing from a checkpoint"
                );
                return Restored { pipeline, refused };
            }
            Err(error) if *at == subject => {
                metrics::counter!("marketdata_checkpoints_unreadable_total", "exchange" => exchange)
                    .increment(1);
                error!(
                    exchange,
                    symbol = symbol.as_str(),
                    error = %error,
                    kept = refused_subject,
                    "the saved state cannot be used and is kept aside; open bars start again and are partial"
                );
                refused = Some((refused_subject.clone(), checkpoint.clone()));
            }
            Err(_) => {}
        }
    }
    Restored {
        pipeline: Pipeline::new(config),
        refused,
    }
}

/// How many of `instruments` have closed bars on the bus and no checkpoint: their state is lost.
/// Only a few instruments are examined, because at a first start no instrument has a checkpoint.
///
/// # Errors
/// As [`checkpoints`].
pub async fn count_lost<'i>(
    bus: &dyn Bus,
    instruments: impl Iterator<Item = &'i Instrument>,
    timeframe: Timeframe,
    checkpoints: &HashMap<String, Bytes>,
    shutdown: &Shutdown,
) -> Result<usize, BusError> {
    let lacks = |instrument: &&Instrument| {
        let subject = subject::checkpoint(instrument.exchange, &instrument.symbol);
        !checkpoints.contains_key(&subject)
    };
    let mut lost = 0;
    for instrument in instruments.filter(lacks).take(LOOKED_AT_MAX) {
        let bars = subject::closed_bars(timeframe, &instrument.symbol);
        let bars = last_values(bus, &bars, shutdown).await?;
        lost += usize::from(!bars.is_empty());
    }
    metrics::gauge!("marketdata_states_lost").set(lost as f64);
    if lost > 0 {
        error!(
            lost,
            looked_at_most = LOOKED_AT_MAX,
            "symbols have published bars and no saved state: it was lost, or the symbol was moved to another exchange; their open bars start again and are partial"
        );
    }
    Ok(lost)
}

#[cfg(test)]
mod tests {
    use bus::MemoryBus;
    use market_core::{AggressorSide, Origin, Price, Quantity, Trade};

    use super::*;

    const SUBJECT: &str = "state.marketdata.okx.OKX.BTC-USDT";
    const REFUSED: &str = "state.refused.marketdata.okx.OKX.BTC-USDT";

    fn instrument() -> Instrument {
        Instrument {
            exchange: "okx",
            venue: 0,
            symbol: "OKX:BTC-USDT".parse().expect("symbol"),
            native: "BTC-USDT".to_owned(),
        }
    }

    /// A checkpoint of a symbol after the trade with this id.
    fn checkpoint(config: &PipelineConfig, of: &str, id: u64) -> Bytes {
        let trade = Trade {
            first_id: id,
            last_id: id,
            event_ms: 1_700_000_000_000,
            price: Price::parse("1").expect("price"),
            quantity: Quantity::parse("1").expect("quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 1_700_000_000_000_000,
        };
        let mut pipeline = Pipeline::new(config);
        pipeline.feed_up(trade.event_ms);
        pipeline.offer(&trade, Origin::Live, trade.event_ms, &mut Vec::new());
        let checkpoint = pipeline.checkpoint().expect("small");
        checkpoint.encode(of).into()
    }

    /// How many of OKX's were refused so far.
    fn refused_count() -> u64 {
        let text = service::install_metrics().render();
        let name = r#"marketdata_checkpoints_unreadable_total{exchange="okx"} "#;
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        count.map_or(0, |count| count.parse().expect("a count"))
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_kept_aside() {
        let config = PipelineConfig::default();
        let good = checkpoint(&config, SUBJECT, 7);
        let text = std::str::from_utf8(&good).expect("JSON");
        let absurd = text.replace(r#""next_id":0"#, r#""next_id":-1"#);
        let contradiction = text.replace(r#""count":1"#, r#""count":0"#);
        assert!(absurd != text && contradiction != text);
        let before = refused_count();
        let cases = [
            ("{}".to_owned(), "damaged"),
            ("\u{0}\u{1}".to_owned(), "damaged"),
            // Torn, at any place.
            (text[..text.len() / 2].to_owned(), "damaged"),
            (text[..text.len() - 1].to_owned(), "damaged"),
            (absurd, "damaged"),
            (contradiction, "its numbers contradict each other"),
            (r#"{"version":0}"#.to_owned(), "start the program"),
            (
                text.replace(r#""version":2"#, r#""version":99"#),
                "reads 1 to 3",
            ),
            // Of another venue, as after copying the state of one deployment to another.
            (
                text.replace("marketdata.okx.OKX", "marketdata.binance"),
                "belongs to state.marketdata.binance.BTC-USDT",
            ),
        ];
        let count = cases.len() as u64;
        for (payload, says) in cases {
            let error = Pipeline::restore(&config, SUBJECT, payload.as_bytes());
            let error = error.expect_err(&payload).to_string();
            assert!(error.contains(says), "{error}");
            let payload = Bytes::from(payload);
            let checkpoints = HashMap::from([(SUBJECT.to_owned(), payload.clone())]);
            let restored = pipeline(&instrument(), &config, &checkpoints);
            assert_eq!(restored.pipeline.next_id(), None);
            assert_eq!(restored.refused, Some((REFUSED.to_owned(), payload)));
        }
        assert!(refused_count() >= before + count);
        // And the state that all of them were made of is good.
        let checkpoints = HashMap::from([(SUBJECT.to_owned(), good)]);
        let restored = pipeline(&instrument(), &config, &checkpoints);
        assert_eq!(restored.pipeline.next_id(), Some(8));
        assert_eq!(restored.refused, None);
    }

    #[test]
    fn a_state_of_other_timeframes_is_gone_on_from() {
        let of = |timeframes: &str| PipelineConfig {
            timeframes: timeframes.parse().expect("timeframes"),
            ..PipelineConfig::default()
        };
        let saved = checkpoint(&of("1s,1m,1d"), SUBJECT, 7);
        let checkpoints = HashMap::from([(SUBJECT.to_owned(), saved)]);
        let restored = pipeline(&instrument(), &of("1m,1h,1d"), &checkpoints);
        assert_eq!(restored.pipeline.next_id(), Some(8));
        assert_eq!(restored.refused, None);
    }

    #[test]
    fn a_state_that_another_build_kept_aside_is_gone_on_from() {
        let config = PipelineConfig::default();
        let ours = checkpoint(&config, SUBJECT, 7);
        let checkpoints = HashMap::from([
            (SUBJECT.to_owned(), Bytes::from_static(b"of another build")),
            (REFUSED.to_owned(), ours),
        ]);
        let restored = pipeline(&instrument(), &config, &checkpoints);
        assert_eq!(restored.pipeline.next_id(), Some(8));
        // And the other's is kept for it in turn.
        let kept = restored.refused.expect("the other's");
        assert_eq!(
            (kept.0.as_str(), &*kept.1),
            (REFUSED, &b"of another build"[..])
        );
        // A readable state goes first.
        let checkpoints = HashMap::from([
            (SUBJECT.to_owned(), checkpoint(&config, SUBJECT, 9)),
            (REFUSED.to_owned(), checkpoint(&config, SUBJECT, 7)),
        ]);
        let restored = pipeline(&instrument(), &config, &checkpoints);
        assert_eq!(restored.pipeline.next_id(), Some(10));
        assert_eq!(restored.refused, None);
    }

    #[tokio::test]
    async fn a_state_that_was_lost_is_told_and_a_first_start_is_not() {
        let bus = MemoryBus::with_streams(&service::streams());
        let instruments = [instrument()];
        let lost = async |checkpoints: &HashMap<String, Bytes>| {
            let shutdown = service::Service::for_test().shutdown;
            let timeframe = Timeframe::MINUTE;
            count_lost(&bus, instruments.iter(), timeframe, checkpoints, &shutdown)
                .await
                .expect("the bus is there")
        };
        assert_eq!(lost(&HashMap::new()).await, 0);
        let bar = bus.publish_durable("closed.1m.OKX.BTC-USDT", Bytes::from_static(b"{}"));
        bar.await.expect("stored");
        assert_eq!(lost(&HashMap::new()).await, 1);
        let checkpoints = HashMap::from([(SUBJECT.to_owned(), Bytes::new())]);
        assert_eq!(lost(&checkpoints).await, 0);
    }
}
