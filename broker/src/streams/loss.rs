//! What a change of a stream would lose, before it is made.

use serde::Serialize;
use serde_json::{Value, json};

use crate::clock;
use crate::jetstream::{JetStream, NatsError};
use crate::stream_settings::StreamSettings;

/// Most subjects whose messages are counted one by one: the server lists this number at once.
const SUBJECTS_MAX: u64 = 100_000;

/// Messages that go. Others may come and go between the dry run and the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Loss {
    /// Messages that go.
    pub(crate) messages: u64,
    /// Whether `messages` is exact; if not, it is the most that can go.
    pub(crate) is_exact: bool,
    /// Their bytes, where all go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Consumers that go, with what they have not read.
    pub(crate) consumers: u64,
}

struct State {
    messages: u64,
    bytes: u64,
    first: u64,
    last: u64,
    deleted: u64,
    subjects: u64,
}

impl State {
    fn of(running: &Value) -> Self {
        let number = |name: &str| running["state"][name].as_u64().unwrap_or(0);
        Self {
            messages: number("messages"),
            bytes: number("bytes"),
            first: number("first_seq"),
            last: number("last_seq"),
            deleted: number("num_deleted"),
            subjects: number("num_subjects"),
        }
    }

    /// Messages below a sequence: exact if none in between was deleted.
    fn below(&self, sequence: u64) -> Loss {
        let count = sequence.saturating_sub(self.first).min(self.messages);
        Loss {
            messages: count,
            is_exact: self.deleted == 0 || count == 0 || sequence > self.last,
            ..Loss::default()
        }
    }

    fn newest_kept(&self, kept: u64) -> Loss {
        Loss {
            messages: self.messages.saturating_sub(kept),
            is_exact: true,
            ..Loss::default()
        }
    }
}

pub(super) fn of_deletion(running: &Value) -> Loss {
    let state = State::of(running);
    Loss {
        messages: state.messages,
        is_exact: true,
        bytes: Some(state.bytes),
        consumers: running["state"]["consumer_count"].as_u64().unwrap_or(0),
    }
}

pub(super) async fn of_purge(
    jetstream: &JetStream,
    name: &str,
    running: &Value,
    purge: &Value,
) -> Result<Loss, NatsError> {
    let state = State::of(running);
    let keep = purge["keep"].as_u64();
    let sequence = purge["seq"].as_u64();
    let Some(filter) = purge["filter"].as_str() else {
        return Ok(match (keep, sequence) {
            (Some(keep), _) => state.newest_kept(keep),
            (None, Some(sequence)) => state.below(sequence),
            (None, None) => Loss {
                bytes: Some(state.bytes),
                ..state.newest_kept(0)
            },
        });
    };
    let counts = per_subject(jetstream, name, filter).await?;
    let matching: u64 = counts.counts.iter().sum();
    let mut loss = match (keep, sequence) {
        (Some(keep), _) => Loss {
            messages: matching.saturating_sub(keep),
            is_exact: true,
            ..Loss::default()
        },
        (None, Some(sequence)) => Loss {
            messages: state.below(sequence).messages.min(matching),
            is_exact: sequence > state.last,
            ..Loss::default()
        },
        (None, None) => Loss {
            messages: matching,
            is_exact: true,
            ..Loss::default()
        },
    };
    if !counts.is_whole {
        loss.messages = state.messages;
        loss.is_exact = false;
    }
    Ok(loss)
}

/// The greatest loss of all limits that become narrower.
pub(super) async fn of_update(
    jetstream: &JetStream,
    name: &str,
    running: &Value,
    settings: &StreamSettings,
) -> Result<Loss, NatsError> {
    let state = State::of(running);
    let mut losses = vec![Loss {
        is_exact: true,
        ..Loss::default()
    }];
    if let Some(limit) = settings
        .max_msgs
        .and_then(|limit| u64::try_from(limit).ok())
    {
        losses.push(state.newest_kept(limit));
    }
    if settings
        .max_bytes
        .is_some_and(|limit| limit.0 > 0 && limit.0 < state.bytes)
    {
        // Messages are of different sizes: only that some go is known.
        losses.push(Loss {
            messages: state.messages,
            is_exact: false,
            ..Loss::default()
        });
    }
    if let Some(age) = settings.max_age.filter(|age| age.as_nanos() > 0) {
        let cut = clock::now_ns() - i128::from(age.as_nanos());
        losses.push(state.below(first_after(jetstream, name, &state, cut).await?));
    }
    if let Some(limit) = settings
        .max_msgs_per_subject
        .and_then(|limit| u64::try_from(limit).ok())
    {
        let counts = per_subject(jetstream, name, ">").await?;
        losses.push(Loss {
            messages: match counts.is_whole {
                true => counts
                    .counts
                    .iter()
                    .map(|count| count.saturating_sub(limit))
                    .sum(),
                false => state.messages,
            },
            is_exact: counts.is_whole,
            ..Loss::default()
        });
    }
    let narrower = losses.iter().filter(|loss| loss.messages > 0).count();
    let greatest = losses.into_iter().max_by_key(|loss| loss.messages);
    let mut greatest = greatest.unwrap_or_default();
    if narrower > 1 {
        // Two limits may drop different messages.
        greatest.messages = state.messages;
        greatest.is_exact = false;
    }
    Ok(greatest)
}

/// The first sequence whose message is not older than `cut`, found by halves.
async fn first_after(
    jetstream: &JetStream,
    name: &str,
    state: &State,
    cut: i128,
) -> Result<u64, NatsError> {
    let (mut low, mut high) = (state.first, state.last.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match jetstream.message(name, ">", middle).await {
            Ok(message) => {
                let stored = clock::ns_of(message["time"].as_str().unwrap_or_default());
                let sequence = message["seq"].as_u64().unwrap_or(middle);
                match stored {
                    Some(stored) if stored < cut => low = sequence.max(middle).saturating_add(1),
                    _ => high = middle,
                }
            }
            Err(error) if error.is_no_such_message() => high = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(low)
}

struct Counts {
    counts: Vec<u64>,
    is_whole: bool,
}

async fn per_subject(jetstream: &JetStream, name: &str, filter: &str) -> Result<Counts, NatsError> {
    let body = json!({ "subjects_filter": filter });
    let info = jetstream
        .request(&format!("STREAM.INFO.{name}"), &body)
        .await?;
    let subjects = info["state"]["subjects"].as_object();
    let counts = subjects.into_iter().flatten();
    Ok(Counts {
        counts: counts.filter_map(|(_, count)| count.as_u64()).collect(),
        is_whole: info["total"].as_u64().unwrap_or(0) <= SUBJECTS_MAX
            && State::of(&info).subjects <= SUBJECTS_MAX,
    })
}
