//! Asks history for bars, over the bus: a bounded number of questions at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Headers, LogLimit};
use bytes::Bytes;
use market_core::subject::HISTORY_QUERY;
use market_core::wire::history::BARS_PER_PAGE_MAX;
use market_core::wire::{BarMessage, HistoryOrder, HistoryPage, HistoryQuery};
use market_core::{BarRow, Topic};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::sessions::past::{NoPage, PastAnswer, PastBar, PastPage};
use crate::topics::folds::Load;
use crate::topics::host_clock::latest_us;
use crate::topics::publication::{Bounds, Name, Publication};

/// Time between two log lines about questions without an answer.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Most pages of the parts of one bar.
const PAGES_MAX: usize = 40;

/// The limits of questions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// Most questions at once.
    pub reads_max: usize,
    /// How long an answer is waited for.
    pub answer_time: Duration,
}

/// Asks history for bars.
pub(crate) struct HistoryReader {
    bus: Arc<dyn Bus>,
    permits: Semaphore,
    answer_time: Duration,
    bounds: Bounds,
    log: LogLimit,
    read: Counter,
    unanswered: Counter,
    no_place: Counter,
    malformed: Counter,
    in_progress: Gauge,
    seconds: Histogram,
}

impl HistoryReader {
    /// Asks over `bus`; the bars of answers keep `bounds`.
    #[must_use]
    pub(crate) fn new(bus: Arc<dyn Bus>, limits: HistoryLimits, bounds: Bounds) -> Self {
        let outcome =
            |outcome: &'static str| counter!("gateway_history_reads_total", "outcome" => outcome);
        Self {
            bus,
            permits: Semaphore::new(limits.reads_max.clamp(1, Semaphore::MAX_PERMITS)),
            answer_time: limits.answer_time,
            bounds,
            log: LogLimit::new(LOG_INTERVAL),
            read: outcome("read"),
            unanswered: outcome("unanswered"),
            no_place: outcome("no_place"),
            malformed: outcome("malformed"),
            in_progress: gauge!("gateway_history_reads_in_progress"),
            seconds: histogram!("gateway_history_read_seconds"),
        }
    }

    /// Asks one question.
    pub(crate) async fn read(&self, query: &HistoryQuery) -> PastAnswer {
        // A history that stands still holds every place. A client that waits for one goes live in time, too.
        let place = timeout(self.answer_time, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = place else {
            self.no_place.increment(1);
            return Err(NoPage);
        };
        let _counted = InProgress::begin(&self.in_progress);
        let begun_at = Instant::now();
        let answer = self.ask(query).await;
        self.seconds.record(begun_at.elapsed().as_secs_f64());
        answer
    }

    /// The parts that a fold lacks; `None` if history does not tell.
    pub(crate) async fn parts(&self, load: &Load) -> Option<Vec<BarRow>> {
        let (mut from_ms, to_ms) = load.range;
        let mut rows = Vec::new();
        for _ in 0..PAGES_MAX {
            let query = HistoryQuery {
                topic: load.source.to_string(),
                exchange: load.exchange.clone(),
                from_ms: Some(from_ms),
                to_ms: Some(to_ms),
                limit: BARS_PER_PAGE_MAX,
                order: HistoryOrder::Asc,
                as_of_ms: None,
                known_after_ms: None,
                has_flat_bars: true,
                cursor: None,
            };
            let page = self.read(&query).await.ok()?;
            from_ms = page.bars.last().map_or(to_ms, |bar| bar.end_ms);
            for bar in &page.bars {
                rows.push(BarRow::of_message(&BarMessage::read(&bar.json)?)?);
            }
            if page.next.is_none() || from_ms >= to_ms {
                return Some(rows);
            }
        }
        None
    }

    async fn ask(&self, query: &HistoryQuery) -> PastAnswer {
        let asked_ms = latest_us() / 1_000;
        let question = serde_json::to_vec(query).expect("plain fields");
        let answer = self
            .bus
            .requests()
            .request(
                HISTORY_QUERY,
                Headers::default(),
                question.into(),
                self.answer_time,
            )
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unanswered.increment(1);
                if let Some(more) = self.log.pass(Instant::now(), 1) {
                    warn!(%error, more, topic = query.topic, "history gave no answer: clients get only what this gateway holds; check that the program history runs");
                }
                return Err(NoPage);
            }
        };
        let page = page(query, &answer.payload, self.bounds, asked_ms);
        match &page {
            Some(_) => self.read.increment(1),
            None => {
                self.malformed.increment(1);
                if let Some(more) = self.log.pass(Instant::now(), 1) {
                    warn!(
                        more,
                        topic = query.topic,
                        "an answer of history refused: it is not a page of the bars that were asked for; check its version"
                    );
                }
            }
        }
        page.ok_or(NoPage)
    }
}

/// Counts a question in a gauge until it is dropped, also where its task panics.
struct InProgress(Gauge);

impl InProgress {
    fn begin(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// An answer as a page; `None` if it is not what was asked for. A client gets these bars, so they
/// are held to the same rules as those of publishers.
fn page(query: &HistoryQuery, answer: &[u8], bounds: Bounds, asked_ms: i64) -> Option<PastPage> {
    let page: HistoryPage = serde_json::from_slice(answer).ok()?;
    if page.bars.len() > query.limit {
        return None;
    }
    let topic: Topic = query.topic.parse().ok()?;
    let name = Name::of_past(&topic)?;
    let mut bars: Vec<PastBar> = Vec::with_capacity(page.bars.len());
    for json in page.bars {
        let bar = bar(&name, &json, bounds, asked_ms)?;
        let is_in_range = query.from_ms.is_none_or(|from_ms| bar.start_ms >= from_ms)
            && query.to_ms.is_none_or(|to_ms| bar.start_ms < to_ms);
        let is_in_order = bars.last().is_none_or(|last| match query.order {
            HistoryOrder::Asc => last.end_ms <= bar.start_ms,
            HistoryOrder::Desc => last.start_ms >= bar.end_ms,
        });
        if !is_in_range || !is_in_order {
            return None;
        }
        bars.push(bar);
    }
    Some(PastPage {
        bars,
        next: page.next,
        asked_ms,
    })
}

fn bar(name: &Name, json: &RawValue, bounds: Bounds, now_ms: i64) -> Option<PastBar> {
    let json = Bytes::from(json.get().to_owned());
    let Ok(Publication::Bar(head, published_us)) = name.read(&json, bounds, now_ms) else {
        return None;
    };
    let (start_ms, end_ms) = (head.start_ms, head.end_ms);
    let (rev, filled, is_closed) = (head.rev, head.filled, head.closed);
    is_closed.then_some(PastBar {
        json,
        start_ms,
        end_ms,
        rev,
        filled,
        known_ms: published_us.unwrap_or(0).div_euclid(1_000),
    })
}

#[cfg(test)]
mod tests {
    use bus::{BusConfig, MemoryBus};

    use super::*;

    fn query() -> HistoryQuery {
        HistoryQuery {
            topic: "kline:7m:A-B".to_owned(),
            exchange: None,
            from_ms: Some(420_000),
            to_ms: None,
            limit: 3,
            order: HistoryOrder::Asc,
            as_of_ms: None,
            has_flat_bars: true,
            known_after_ms: None,
            cursor: None,
        }
    }

    fn object(index: i64) -> String {
        format!(
            r#"{{"topic":"kline:7m:A-B","seq":0,"epoch":0,"start_ms":{},"end_ms":{},"state":"closed","rev":2,"quality":"complete","published_us":9000}}"#,
            index * 420_000,
            (index + 1) * 420_000
        )
    }

    fn read(objects: &[String]) -> Option<PastPage> {
        let answer = format!(
            r#"{{"exchange":"binance","bars":[{}],"next":"c"}}"#,
            objects.join(",")
        );
        let bounds = Bounds {
            bytes_max: 1_000,
            future_max_ms: 0,
        };
        page(&query(), answer.as_bytes(), bounds, i64::from(i32::MAX))
    }

    #[tokio::test]
    async fn while_history_stands_still_those_who_wait_for_a_place_are_told_in_time() {
        let bus = MemoryBus::new(&BusConfig::default(), &service::streams());
        let limits = HistoryLimits {
            reads_max: 1,
            answer_time: Duration::from_millis(20),
        };
        let bounds = Bounds {
            bytes_max: 1_000,
            future_max_ms: 0,
        };
        let reader = HistoryReader::new(Arc::new(bus.expect("a memory bus")), limits, bounds);
        // A question that gets no answer.
        let place = reader.permits.acquire().await.expect("a place");
        let (first, second) = (query(), query());
        let waiting = async { tokio::join!(reader.read(&first), reader.read(&second)) };
        let waited = timeout(Duration::from_secs(30), waiting).await;
        let (first, second) = waited.expect("told in time");
        assert!(first.is_err() && second.is_err());
        drop(place);
    }

    #[test]
    fn a_page_has_the_bars_that_were_asked_for_in_their_order() {
        let page = read(&[object(1), object(2), object(4)]).expect("a page");
        assert_eq!(page.next.as_deref(), Some("c"));
        let starts: Vec<i64> = page.bars.iter().map(|bar| bar.start_ms).collect();
        assert_eq!(starts, [420_000, 840_000, 1_680_000]);
        let first = &page.bars[0];
        assert_eq!((first.rev, first.known_ms, first.filled), (2, 9, false));
        assert_eq!(first.json, object(1).as_bytes());
        let forming = object(1).replace("closed", "forming");
        let other = object(1).replace("A-B", "C-D");
        let crooked = object(1).replace("\"start_ms\":420000", "\"start_ms\":420001");
        let broken = object(1).replace(",\"rev\"", ",\n\"rev\"");
        for refused in [
            vec![object(0)],
            vec![object(2), object(1)],
            vec![object(1), object(1)],
            vec![object(1), object(2), object(3), object(4)],
            vec![forming],
            vec![other],
            vec![crooked],
            vec![broken],
            vec!["5".to_owned()],
            vec![object(i64::from(i32::MAX) / 420_000 + 2)],
        ] {
            assert!(read(&refused).is_none(), "{refused:?}");
        }
    }
}
