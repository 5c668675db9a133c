//! What the code under test logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// Keeps what this thread logs, up to `debug`, while it lives.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Begins.
    #[must_use]
    pub fn start() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The events with this message so far.
    ///
    /// # Panics
    /// If a line is no JSON.
    #[must_use]
    pub fn events(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.lines.bytes()).into_owned();
        let events = text.lines().map(|line| {
            let event: Result<Value, _> = serde_json::from_str(line);
            event.unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        events.filter(|event| event["message"] == message).collect()
    }
}
