//! When trades are known to be missing.

use crate::value::clock::UnixMillis;

/// Event times between which trades are missing, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingTimes {
    /// Ascending, and apart from each other, so that one look finds what touches a bar.
    spans: Vec<(UnixMillis, UnixMillis)>,
}

impl MissingTimes {
    /// Replaces the earlier times; `None` is an unknown end.
    pub fn replace(&mut self, times: impl Iterator<Item = (UnixMillis, Option<UnixMillis>)>) {
        self.spans.clear();
        let known = times.map(|(from, to)| (from, to.unwrap_or(UnixMillis::MAX)));
        self.spans.extend(known);
        self.spans.sort_unstable();
        self.spans.dedup_by(|next, before| {
            let is_joined = next.0 <= before.1;
            if is_joined {
                before.1 = before.1.max(next.1);
            }
            is_joined
        });
    }

    /// Adds the time from `from_ms` on.
    pub(crate) fn add_from(&mut self, from_ms: UnixMillis) {
        self.spans.retain(|&(from, _)| from < from_ms);
        match self.spans.last_mut() {
            Some(last) if last.1 >= from_ms => last.1 = UnixMillis::MAX,
            _ => self.spans.push((from_ms, UnixMillis::MAX)),
        }
    }

    /// Whether trades are missing in some part of `[start_ms, end_ms)`.
    #[must_use]
    #[inline]
    pub fn touches(&self, start_ms: UnixMillis, end_ms: UnixMillis) -> bool {
        self.last_before(end_ms)
            .is_some_and(|(_, to)| to >= start_ms)
    }

    /// Whether one span holds all of `[start_ms, end_ms)`.
    #[must_use]
    pub fn covers(&self, start_ms: UnixMillis, end_ms: UnixMillis) -> bool {
        self.last_before(end_ms)
            .is_some_and(|(from, to)| from <= start_ms && to >= end_ms)
    }

    fn last_before(&self, end_ms: UnixMillis) -> Option<(UnixMillis, UnixMillis)> {
        let after = self.spans.partition_point(|&(from, _)| from < end_ms);
        after.checked_sub(1).map(|last| self.spans[last])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn joined_spans_touch_what_the_single_ones_do(
            spans in proptest::collection::vec((0i64..100, proptest::option::of(0i64..20)), 0..12),
            start in 0i64..120,
            width in 1i64..20,
        ) {
            let single = || spans.iter().map(|&(from, length)| (from, length.map(|length| from + length)));
            let mut times = MissingTimes::default();
            times.replace(single());
            let touches = single().any(|(from, to)| from < start + width && to.is_none_or(|to| to >= start));
            prop_assert_eq!(times.touches(start, start + width), touches);
            prop_assert!(!times.covers(start, start + width) || touches);
        }
    }
}
