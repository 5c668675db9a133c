//! What the memory bus keeps of one root, as a JetStream stream would.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;

use super::reader::Reader;
use crate::admin::{StreamHealth, StreamStatus};
use crate::subject::Pattern;
use crate::{
    BusError, DUPLICATE_WINDOW, Headers, Message, Page, Position, Range, Start, StreamSpec,
};

/// Subjects kept below one root.
pub(super) const SUBJECTS_MAX: usize = 1_000_000;

/// Message ids that a stream remembers; the oldest are forgotten first.
const MESSAGE_IDS_MAX: usize = 1_000_000;

/// The messages below one root.
pub(super) struct Stream {
    pub(super) root: Arc<str>,
    pub(super) created_ns: u64,
    kept: Mutex<Kept>,
    /// Wakes consumers: there is a message, or room for one.
    pub(super) changed: Notify,
}

/// The messages of a stream, oldest first.
pub(super) struct Kept {
    pub(super) spec: StreamSpec,
    created_ns: u64,
    pub(super) last_sequence: u64,
    bytes: u64,
    entries: BTreeMap<u64, Entry>,
    subjects: Vec<SubjectOfStream>,
    subject_ids: HashMap<Arc<str>, SubjectId>,
    subjects_max: usize,
    message_ids: HashMap<Box<str>, u64>,
    message_ids_by_age: VecDeque<(Instant, Box<str>)>,
    /// By name.
    pub(super) readers: BTreeMap<String, Reader>,
    /// Whether it was deleted: its holder has to look for the stream of now.
    pub(super) is_deleted: bool,
}

/// The place of a subject in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubjectId(usize);

struct SubjectOfStream {
    name: Arc<str>,
    sequences: VecDeque<u64>,
}

/// A message that is kept.
struct Entry {
    subject: SubjectId,
    payload: Bytes,
    headers: Option<Arc<Headers>>,
    stored_ns: u64,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec, subjects_max: usize) -> Stream {
        let created_ns = creation_ns();
        let first_sequence = if spec.is_fenced { created_ns.max(1) } else { 1 };
        Stream {
            root: spec.root.as_str().into(),
            created_ns,
            kept: Mutex::new(Kept {
                spec,
                created_ns,
                last_sequence: first_sequence - 1,
                bytes: 0,
                entries: BTreeMap::new(),
                subjects: Vec::new(),
                subject_ids: HashMap::new(),
                subjects_max,
                message_ids: HashMap::new(),
                message_ids_by_age: VecDeque::new(),
                readers: BTreeMap::new(),
                is_deleted: false,
            }),
            changed: Notify::new(),
        }
    }

    /// What an administrator sees.
    pub(super) fn status(&self, name: String) -> StreamStatus {
        let kept = self.lock();
        let has_messages = |subject: &&SubjectOfStream| !subject.sequences.is_empty();
        StreamStatus {
            spec: kept.spec.clone(),
            name,
            created_ns: self.created_ns,
            messages: kept.entries.len() as u64,
            bytes: kept.bytes,
            first_sequence: kept.first_sequence(),
            last_sequence: kept.last_sequence,
            subjects: kept.subjects.iter().filter(has_messages).count() as u64,
            consumers: kept.readers.len() as u64,
            health: StreamHealth::Whole,
        }
    }

    /// Held during the delivery of a new message, so that two publishers of one subject leave the
    /// same order at subscribers and in the stream.
    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().expect("nothing panics under it");
        kept.expire();
        kept
    }
}

impl Kept {
    /// The id of `subject`, created if necessary; `None` if there are too many.
    pub(super) fn subject(&mut self, subject: &Arc<str>) -> Option<SubjectId> {
        if let Some(id) = self.subject_ids.get(subject) {
            return Some(*id);
        }
        if self.subjects.len() >= self.subjects_max {
            return None;
        }
        let id = SubjectId(self.subjects.len());
        self.subjects.push(SubjectOfStream {
            name: Arc::clone(subject),
            sequences: VecDeque::new(),
        });
        self.subject_ids.insert(Arc::clone(subject), id);
        Some(id)
    }

    /// Keeps a message; gives its sequence.
    ///
    /// The caller wakes the consumers, if there are any.
    pub(super) fn put(
        &mut self,
        subject: SubjectId,
        payload: Bytes,
        headers: Option<Arc<Headers>>,
    ) -> u64 {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        let entry = Entry {
            subject,
            payload,
            headers,
            stored_ns: now_ns(),
        };
        let sequences = &mut self.subjects[subject.0].sequences;
        sequences.push_back(sequence);
        let oldest_too_many = match self.spec.messages_per_subject_max {
            Some(most) if sequences.len() as u64 > most => sequences.front().copied(),
            _ => None,
        };
        self.bytes += entry.bytes();
        self.entries.insert(sequence, entry);
        if let Some(oldest) = oldest_too_many {
            self.remove(oldest);
        }
        while self.is_over() {
            self.remove_oldest();
        }
        sequence
    }

    /// Sets other limits, which hold at once.
    pub(super) fn set_spec(&mut self, spec: StreamSpec) {
        self.spec = spec;
        if let Some(most) = self.spec.messages_per_subject_max {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            for index in 0..self.subjects.len() {
                while self.subjects[index].sequences.len() > most {
                    let oldest = self.subjects[index].sequences[0];
                    self.remove(oldest);
                }
            }
        }
        while self.is_over() {
            self.remove_oldest();
        }
        self.expire();
    }

    /// The sequence under which a message of this id was kept.
    pub(super) fn sequence_of_id(&mut self, id: &str) -> Option<u64> {
        let window = self
            .spec
            .age_max
            .unwrap_or(DUPLICATE_WINDOW)
            .min(DUPLICATE_WINDOW);
        let now = Instant::now();
        while let Some((at, _)) = self.message_ids_by_age.front()
            && (now.saturating_duration_since(*at) > window
                || self.message_ids_by_age.len() > MESSAGE_IDS_MAX)
        {
            if let Some((_, id)) = self.message_ids_by_age.pop_front() {
                self.message_ids.remove(&id);
            }
        }
        self.message_ids.get(id).copied()
    }

    /// Remembers an id that is not remembered yet.
    pub(super) fn remember_id(&mut self, id: &str, sequence: u64) {
        self.message_ids.insert(id.into(), sequence);
        self.message_ids_by_age
            .push_back((Instant::now(), id.into()));
    }

    /// The oldest sequence; one above the newest if nothing is kept.
    pub(super) fn first_sequence(&self) -> u64 {
        let first = self.entries.first_key_value();
        first.map_or(self.last_sequence + 1, |(sequence, _)| *sequence)
    }

    /// The first sequence that reading from `start` may give.
    pub(super) fn sequence_at(&self, start: Start) -> Result<u64, BusError> {
        match start {
            Start::Oldest => Ok(0),
            Start::After(position) if position.stream_created_ns == self.created_ns => {
                Ok(position.sequence.saturating_add(1))
            }
            Start::After(_) => Err(BusError::PositionLost {
                root: self.spec.root.clone(),
            }),
            Start::Since(since_ns) => {
                let mut entries = self.entries.iter();
                let found = entries.find(|(_, entry)| entry.stored_ns >= since_ns);
                Ok(found.map_or(self.last_sequence + 1, |(sequence, _)| *sequence))
            }
        }
    }

    /// Messages that match, from this sequence on.
    pub(super) fn matching<'k>(
        &'k self,
        pattern: &'k Pattern,
        from: u64,
    ) -> impl Iterator<Item = (u64, Message)> + 'k {
        let is_asked = |entry: &Entry| pattern.matches(&self.subjects[entry.subject.0].name);
        self.entries
            .range(from..)
            .filter(move |(_, entry)| is_asked(entry))
            .map(|(sequence, entry)| (*sequence, self.as_message(*sequence, entry)))
    }

    /// One page.
    pub(super) fn page(&self, range: &Range, pattern: &Pattern) -> Result<Page, BusError> {
        let from = self.sequence_at(range.start)?;
        let mut messages: Vec<Message> = Vec::new();
        let mut bytes = 0;
        let mut is_end = true;
        for (_, message) in self.matching(pattern, from) {
            bytes += message.bytes();
            let is_full = messages.len() >= range.messages_max
                || (bytes > range.bytes_max && !messages.is_empty());
            if is_full {
                is_end = false;
                break;
            }
            messages.push(message);
        }
        Ok(Page {
            messages,
            is_end,
            first_sequence: self.first_sequence(),
            last_sequence: self.last_sequence,
        })
    }

    /// The newest sequence of a subject; 0 for none.
    pub(super) fn last_of(&self, subject: &str) -> u64 {
        let id = self.subject_ids.get(subject);
        let last = id.and_then(|id| self.subjects[id.0].sequences.back());
        last.copied().unwrap_or_default()
    }

    /// The newest message of each subject that matches, and those kept before it, oldest first.
    pub(super) fn messages_of(&self, pattern: &Pattern) -> Vec<Message> {
        let mut messages = Vec::new();
        for subject in &self.subjects {
            if pattern.matches(&subject.name) {
                messages.extend(subject.sequences.iter().filter_map(|at| self.message(*at)));
            }
        }
        messages
    }

    pub(super) fn message(&self, sequence: u64) -> Option<Message> {
        let entry = self.entries.get(&sequence)?;
        Some(self.as_message(sequence, entry))
    }

    fn as_message(&self, sequence: u64, entry: &Entry) -> Message {
        Message {
            subject: Arc::clone(&self.subjects[entry.subject.0].name),
            payload: entry.payload.clone(),
            headers: entry.headers.clone(),
            position: Some(Box::new(Position {
                stream_created_ns: self.created_ns,
                sequence,
                stored_ns: entry.stored_ns,
            })),
        }
    }

    /// Takes away what is too old.
    fn expire(&mut self) {
        let Some(age_max) = self.spec.age_max else {
            return;
        };
        let age_max_ns = u64::try_from(age_max.as_nanos()).unwrap_or(u64::MAX);
        let oldest_ns = now_ns().saturating_sub(age_max_ns);
        while let Some(entry) = self.entries.first_entry()
            && entry.get().stored_ns < oldest_ns
        {
            self.remove_oldest();
        }
    }

    /// Whether a limit on all subjects together does not hold. The newest message always stays.
    fn is_over(&self) -> bool {
        let messages = self.entries.len() as u64;
        let is_over = |limit: Option<u64>, count| limit.is_some_and(|limit| count > limit);
        messages > 1
            && (is_over(self.spec.messages_max, messages)
                || is_over(self.spec.bytes_max, self.bytes))
    }

    fn remove_oldest(&mut self) {
        if let Some((&oldest, _)) = self.entries.first_key_value() {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, sequence: u64) {
        let Some(entry) = self.entries.remove(&sequence) else {
            return;
        };
        self.bytes -= entry.bytes();
        let sequences = &mut self.subjects[entry.subject.0].sequences;
        // Every limit takes the oldest of all, which is also the oldest of its subject.
        if sequences.front() == Some(&sequence) {
            sequences.pop_front();
        }
    }
}

impl Entry {
    fn bytes(&self) -> u64 {
        let headers = self.headers.iter().flat_map(|headers| headers.iter());
        let headers_bytes: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        (self.payload.len() + headers_bytes) as u64
    }
}

/// The time now, and later than any given out before: two streams of one process never seem the
/// same one.
fn creation_ns() -> u64 {
    static NEWEST_NS: Mutex<u64> = Mutex::new(0);
    let mut newest_ns = NEWEST_NS.lock().expect("nothing panics under it");
    *newest_ns = now_ns().max(newest_ns.saturating_add(1));
    *newest_ns
}

/// The wall clock, as a server's would say when it took a message.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests;
