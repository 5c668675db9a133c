//! A history that has some of the publications.

use super::*;

/// One publication of a closed bar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) index: i64,
    pub(super) rev: u32,
    pub(super) seq: u64,
    pub(super) epoch: u64,
    pub(super) known_ms: i64,
}

impl Published {
    pub(super) fn json(&self, topic: &str, is_closed: bool) -> Bytes {
        let state = if is_closed { "closed" } else { "forming" };
        Bytes::from(format!(
            r#"{{"topic":"{topic}","seq":{},"epoch":{},"start_ms":{},"end_ms":{},"state":"{state}","rev":{},"quality":"complete","published_us":{}}}"#,
            self.seq,
            self.epoch,
            self.index * BAR_MS,
            (self.index + 1) * BAR_MS,
            self.rev,
            self.known_ms * 1_000
        ))
    }

    pub(super) fn head(&self, is_closed: bool) -> BarHead<'static> {
        BarHead {
            seq: self.seq,
            epoch: self.epoch,
            start_ms: self.index * BAR_MS,
            end_ms: (self.index + 1) * BAR_MS,
            closed: is_closed,
            rev: self.rev,
            filled: false,
            exchange: "binance",
        }
    }
}

/// A store that has some of the publications.
#[derive(Debug, Default)]
pub(super) struct Store(pub(super) BTreeMap<i64, Published>);

impl Store {
    pub(super) fn take(&mut self, bar: Published) {
        let held = self.0.entry(bar.index).or_insert(bar);
        if bar.rev > held.rev {
            *held = bar;
        }
    }

    pub(super) fn answer(&self, query: &HistoryQuery, asked_ms: i64) -> PastPage {
        let is_meant = |bar: &&Published| {
            let start_ms = bar.index * BAR_MS;
            query.from_ms.is_none_or(|from_ms| start_ms >= from_ms)
                && query.to_ms.is_none_or(|to_ms| start_ms < to_ms)
                && query
                    .known_after_ms
                    .is_none_or(|known_ms| bar.known_ms > known_ms)
        };
        let mut bars: Vec<&Published> = self.0.values().filter(is_meant).collect();
        if query.order == HistoryOrder::Desc {
            bars.reverse();
        }
        let skip = query.cursor.as_ref().map_or(0, |cursor| {
            cursor.parse::<usize>().expect("a cursor of this store")
        });
        let end = (skip + query.limit).min(bars.len());
        let page = bars[skip..end].iter().map(|bar| PastBar {
            json: Published {
                seq: 0,
                epoch: 0,
                ..**bar
            }
            .json(&query.topic, true),
            start_ms: bar.index * BAR_MS,
            end_ms: (bar.index + 1) * BAR_MS,
            rev: bar.rev,
            filled: false,
            known_ms: bar.known_ms,
        });
        PastPage {
            bars: page.collect(),
            next: (end < bars.len()).then(|| end.to_string()),
            asked_ms,
        }
    }
}

/// A gateway beside a history that has the closed bars before `begin`, and `bars` of them.
pub(super) fn world_after(bars: std::ops::Range<i64>) -> (World, Store) {
    let mut store = Store::default();
    for index in bars {
        store.take(closed(index));
    }
    (World::new(), store)
}

pub(super) fn closed(index: i64) -> Published {
    Published {
        index,
        rev: 0,
        seq: index.unsigned_abs() * 2,
        epoch: 1,
        known_ms: (index + 1) * BAR_MS,
    }
}

impl World {
    pub(super) fn offer(&self, bar: Published, is_closed: bool) {
        let slot = self.hub.slot_of(&A.parse().expect("a topic"));
        let _ = self.hub.offer(
            slot.expect("room"),
            Some(&bar.head(is_closed)),
            bar.json(A, is_closed),
            self.now,
        );
    }

    /// Answers all questions, and those that follow.
    pub(super) fn answer_from(&mut self, store: &Store, asked_ms: i64) {
        while let Some((id, query)) = self.questions.pop() {
            let page = store.answer(&query, asked_ms);
            self.answer(id, Ok(page));
        }
    }

    pub(super) fn answer(&mut self, id: ReadId, answer: PastAnswer) {
        self.shard.pull();
        self.shard.history(id, answer, self.now);
        self.perform();
    }
}
