//! Writers: with transactions, and without.

use std::time::Duration;

use async_trait::async_trait;
use krafka::error::KrafkaError;
use krafka::producer::{DeliveryHandle, Producer, TransactionalProducer};
use krafka::{CloseOptions, Record};

use super::{KafkaError, OutRecord, Writer};

/// How long a writer may take to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

fn record(from: OutRecord) -> Record {
    let record = Record::new(from.topic, from.value).key(from.key);
    from.headers
        .into_iter()
        .fold(record, |record, (name, value)| record.header(name, value))
}

/// Waits for all. The error of a refused record goes before others, which may only follow from it.
async fn acknowledged(
    handles: Vec<DeliveryHandle>,
    failed: Option<KrafkaError>,
) -> Result<(), KafkaError> {
    let mut first = failed.map(KafkaError::from);
    for handle in handles {
        if let Err(error) = handle.await {
            let error = KafkaError::from(error);
            let is_refused = |error: &KafkaError| matches!(error, KafkaError::Refused(_));
            if first
                .as_ref()
                .is_none_or(|first| is_refused(&error) && !is_refused(first))
            {
                first = Some(error);
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// All records of a call are there for readers of committed records, or none.
pub(super) struct TransactionWriter(pub(super) TransactionalProducer);

#[async_trait]
impl Writer for TransactionWriter {
    async fn write(
        &mut self,
        records: Vec<OutRecord>,
        last: Option<OutRecord>,
    ) -> Result<(), KafkaError> {
        self.0.begin()?;
        let mut handles = Vec::with_capacity(records.len().saturating_add(1));
        let mut failed = None;
        for out in records.into_iter().chain(last) {
            match self.0.enqueue(record(out)).await {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match acknowledged(handles, failed).await {
            Ok(()) => Ok(self.0.commit().await?),
            // Where even this fails, the next writer of this name ends the transaction.
            Err(error) => match self.0.abort().await {
                Ok(()) => Err(error),
                Err(abort) => Err(KafkaError::Unavailable(format!("{error}; {abort}"))),
            },
        }
    }

    async fn close(&mut self) {
        let options = CloseOptions::new().timeout(CLOSE_TIMEOUT);
        let _ = self.0.close_with(options).await;
    }
}

/// Each record is written once as long as this writer lives.
pub(super) struct PlainWriter(pub(super) Producer);

#[async_trait]
impl Writer for PlainWriter {
    async fn write(
        &mut self,
        records: Vec<OutRecord>,
        last: Option<OutRecord>,
    ) -> Result<(), KafkaError> {
        let mut handles = Vec::with_capacity(records.len());
        let mut failed = None;
        for out in records {
            match self.0.enqueue(record(out)).await {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        acknowledged(handles, failed).await?;
        if let Some(last) = last {
            let _ = self.0.send(record(last)).await?;
        }
        Ok(())
    }

    async fn close(&mut self) {
        let options = CloseOptions::new().timeout(CLOSE_TIMEOUT);
        let _ = self.0.close_with(options).await;
    }
}
