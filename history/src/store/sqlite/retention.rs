//! What every store does beside its rows: watermarks, deletion of old months, compaction.

use std::collections::BTreeMap;
use std::fs;

use market_core::UnixMillis;
use market_core::width::month_start;

use super::{SqliteStore, lock};
use crate::store::{Kind, Retention, StoreError, Watermark};

impl Retention for SqliteStore {
    fn watermark(&self, stream: &str) -> Result<Option<u64>, StoreError> {
        let mut newest = None;
        for file in self.all_files() {
            let all = self.watermarks_of(&file)?;
            let own = all.iter().filter(|watermark| &*watermark.stream == stream);
            newest = newest.max(own.map(|watermark| watermark.position).max());
        }
        Ok(newest)
    }

    fn watermarks(&self, prefix: &str) -> Result<Vec<Watermark>, StoreError> {
        let mut newest: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for file in self.all_files() {
            for mark in self.watermarks_of(&file)? {
                if mark.stream.starts_with(prefix) {
                    let position = newest.entry(mark.stream).or_default();
                    *position = mark.position.max(*position);
                }
            }
        }
        let newest = newest.into_iter();
        Ok(newest
            .map(|(stream, position)| Watermark { stream, position })
            .collect())
    }

    fn drop_before(&self, kind: Kind, before_ms: UnixMillis) -> Result<usize, StoreError> {
        // Nothing is appended meanwhile.
        let mut writers = lock(&self.writers);
        let mut dropped = 0;
        for file in self.files(Some(kind), UnixMillis::MIN, before_ms) {
            if month_start(file.key.month + 1) > before_ms {
                continue;
            }
            let kept = self
                .all_files()
                .into_iter()
                .rfind(|other| other.key != file.key);
            let all = self.watermarks_of(&file)?;
            match kept {
                Some(kept) => self.writer(&mut writers, kept.key)?.put_watermarks(&all)?,
                // The last file stays: it says how far the streams were stored.
                None if !all.is_empty() => continue,
                None => {}
            }
            writers.remove(&file.key);
            lock(&self.files).remove(&file.key);
            for suffix in ["-wal", "-shm", ""] {
                let mut path = file.path.clone().into_os_string();
                path.push(suffix);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StoreError::Io {
                            file: path.into(),
                            source: Box::new(error),
                        });
                    }
                    _ => {}
                }
            }
            // After the deletion: a connection that was opened before it goes with the file.
            let mut readers = lock(&self.readers);
            readers.deletions += 1;
            readers.idle.retain(|(key, _)| *key != file.key);
            dropped += 1;
        }
        Ok(dropped)
    }

    fn compact(&self) -> Result<(), StoreError> {
        let mut writers = lock(&self.writers);
        let mut outcome = Ok(());
        for file in self.all_files() {
            // A damaged file keeps no other from being sealed.
            outcome = outcome.and(self.compact_file(&mut writers, &file));
        }
        outcome
    }
}
