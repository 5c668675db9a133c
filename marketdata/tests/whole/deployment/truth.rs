//! What was published, beside what the simulator knows.

use std::collections::{BTreeMap, HashMap};

use super::*;

impl Deployment {
    /// A closed bar that was published twice says the same twice.
    pub(crate) fn check_doubles(&self) {
        self.seen(|seen| {
            let mut published: BTreeMap<(String, i64, u64), Value> = BTreeMap::new();
            for bar in &seen.all_closed {
                let mut content = bar.clone();
                let fields = content.as_object_mut().expect("an object");
                // When and by whom it was published and received.
                for field in ["seq", "epoch", "published_us", "received_us"] {
                    fields.remove(field);
                }
                let key = (
                    bar["topic"].as_str().expect("a topic").to_owned(),
                    bar["start_ms"].as_i64().expect("a time"),
                    bar["rev"].as_u64().expect("a number"),
                );
                if let Some(before) = published.insert(key, content.clone()) {
                    assert_eq!(
                        before, content,
                        "a closed bar was published with other content"
                    );
                }
            }
        });
    }

    /// Checks that each closed second that was ever published as `complete` or `filled`, of a
    /// whole symbol, is what the simulator knows. Gives how many there were.
    pub(crate) async fn check_no_lies(&self, venue: &str, native: &str, symbol: &str) -> usize {
        let topic = format!("kline:1s:{symbol}");
        let said: Vec<Value> = self.seen(|seen| {
            let bars = seen.all_closed.iter().filter(|bar| bar["topic"] == *topic);
            let sure =
                bars.filter(|bar| bar["quality"] == "complete" || bar["quality"] == "filled");
            sure.cloned().collect()
        });
        let path = format!(
            "/sim/klines?venue={venue}&symbol={native}&interval=1s&limit=100000&fill=true&from_ms={}&to_ms={}",
            said[0]["start_ms"],
            said.last().expect("a bar")["end_ms"],
        );
        let truth = self.get(&path).await.expect("the simulator answers");
        let truth: HashMap<i64, &Value> = truth["klines"]
            .as_array()
            .expect("klines")
            .iter()
            .map(|bar| (bar["start_ms"].as_i64().expect("a time"), bar))
            .collect();
        for bar in &said {
            let truth = truth[&bar["start_ms"].as_i64().expect("a time")];
            for field in ["open", "high", "low", "close", "volume", "count"] {
                assert_eq!(
                    bar[field], truth[field],
                    "{field}:\n  said  {bar}\n  truth {truth}"
                );
            }
        }
        said.len()
    }

    /// Compares every closed second of a symbol, from the first whole one on, with what the
    /// simulator knows. Gives how many there were.
    #[track_caller]
    pub(crate) fn check_truth<'a>(
        &'a self,
        venue: &'a str,
        native: &'a str,
        symbol: &'a str,
    ) -> impl Future<Output = usize> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            // Revisions may still be on their way: what does not agree now may a little later.
            let started = Instant::now();
            loop {
                match self.compare(venue, native, symbol).await {
                    Ok(count) => return count,
                    Err(difference) => {
                        assert!(started.elapsed() < DEADLINE, "{caller}: {difference}")
                    }
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn compare(&self, venue: &str, native: &str, symbol: &str) -> Result<usize, String> {
        let topic = format!("kline:1s:{symbol}");
        let ours: BTreeMap<i64, Value> = self.seen(|seen| {
            let bars = seen.closed.iter().filter(|((of, _), _)| *of == topic);
            bars.map(|((_, start_ms), bar)| (*start_ms, bar.clone()))
                .collect()
        });
        let whole = ours.values().find(|bar| bar["quality"] != "partial");
        let first_ms = whole.ok_or("no whole bar")?["start_ms"]
            .as_i64()
            .expect("a time");
        let (last_ms, _) = ours.last_key_value().ok_or("no bar")?;
        let path = format!(
            "/sim/klines?venue={venue}&symbol={native}&interval=1s&limit=100000&fill=true&from_ms={first_ms}&to_ms={}",
            last_ms + 1_000
        );
        let truth = self.get(&path).await.ok_or("the simulator is away")?;
        let truth = truth["klines"].as_array().ok_or("no klines")?.clone();
        let expected = (last_ms - first_ms) / 1_000 + 1;
        if truth.len() as i64 != expected {
            return Err(format!(
                "{expected} seconds, and the truth has {}",
                truth.len()
            ));
        }
        for bar in &truth {
            let start_ms = bar["start_ms"].as_i64().expect("a time");
            let Some(our) = ours.get(&start_ms) else {
                return Err(format!("{symbol} lacks the second {start_ms}"));
            };
            for field in [
                "end_ms",
                "open",
                "high",
                "low",
                "close",
                "volume",
                "quote_volume",
                "taker_buy_volume",
                "taker_buy_quote_volume",
                "count",
                "first_id",
                "last_id",
            ] {
                if our[field] != bar[field] {
                    return Err(format!(
                        "{field} of {symbol}:\n  ours  {our}\n  truth {bar}"
                    ));
                }
            }
        }
        Ok(truth.len())
    }
}
