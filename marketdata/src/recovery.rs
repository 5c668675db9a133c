//! Going on after a restart: each symbol's last checkpoint from the bus.

use std::collections::HashMap;
use std::time::Duration;

use bus::{Bus, BusError};
use bytes::Bytes;
use market_core::{Pipeline, PipelineConfig, subject};
use service::Shutdown;
use tracing::{info, warn};

use crate::instrument::Instrument;

const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The checkpoints on the bus, by subject. Waits for a bus that is away.
///
/// # Errors
/// What the bus says if it will never answer, or was drained.
pub async fn checkpoints(
    bus: &dyn Bus,
    shutdown: &Shutdown,
) -> Result<HashMap<String, Bytes>, BusError> {
    loop {
        match bus.last_values("state.marketdata.>").await {
            Ok(messages) => {
                let by_subject = messages
                    .into_iter()
                    .map(|message| (message.subject.to_string(), message.payload));
                return Ok(by_subject.collect());
            }
            Err(error) if error.is_retryable() && !shutdown.is_triggered() => {
                warn!(error = %error, "cannot read checkpoints yet, trying again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// An instrument's pipeline: restored if there is a checkpoint that can be read, else new.
#[must_use]
pub fn pipeline(
    instrument: &Instrument,
    config: &PipelineConfig,
    checkpoints: &HashMap<String, Bytes>,
) -> Pipeline {
    let (exchange, symbol) = (instrument.exchange, &instrument.symbol);
    let Some(checkpoint) = checkpoints.get(&subject::checkpoint(exchange, symbol)) else {
        return Pipeline::new(config);
    };
    match Pipeline::restore(config, checkpoint) {
        Ok(pipeline) => {
            info!(
                exchange,
                symbol = symbol.as_str(),
                next_id = pipeline.next_id(),
                "going on from a checkpoint"
            );
            pipeline
        }
        Err(error) => {
            warn!(
                exchange,
                symbol = symbol.as_str(),
                error = %error,
                "checkpoint ignored, starting anew"
            );
            Pipeline::new(config)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_ignored() {
        let instrument = Instrument {
            exchange: "okx",
            venue: 0,
            symbol: "OKX:BTC-USDT".parse().expect("symbol"),
            native: "BTC-USDT".to_owned(),
        };
        let config = PipelineConfig::default();
        let subject = "state.marketdata.okx.OKX.BTC-USDT".to_owned();
        for payload in [&b"{}"[..], b"\xff", br#"{"version":0}"#] {
            let checkpoints = HashMap::from([(subject.clone(), Bytes::from_static(payload))]);
            assert_eq!(pipeline(&instrument, &config, &checkpoints).next_id(), None);
        }
    }
}
