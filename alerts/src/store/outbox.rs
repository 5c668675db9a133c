//! Alerts on their way to the bus and to webhooks.

use market_core::wire::AlertMessage;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::error::StoreError;
use super::json::{read, write_json};
use super::kept::Outlets;

/// An alert that is not on the bus yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queued {
    /// Its number in the store.
    pub id: i64,
    /// The alert.
    pub alert: AlertMessage,
}

/// An alert that a webhook lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Its number in the store.
    pub id: i64,
    /// The alert.
    pub alert: AlertMessage,
    /// How often it was tried.
    pub attempts: u32,
}

/// Forgets what waits for webhooks that are not configured any more.
pub(super) fn forget_hooks(connection: &Connection, hooks: &[String]) -> Result<(), StoreError> {
    let mut statement = connection.prepare("SELECT DISTINCT hook FROM delivery")?;
    let known = statement.query_map([], |row| row.get::<_, String>(0))?;
    for hook in known {
        let hook = hook?;
        if !hooks.contains(&hook) {
            let left = connection.execute("DELETE FROM delivery WHERE hook = ?1", [&hook])?;
            tracing::warn!(
                left,
                "alerts waited for a webhook that is not configured any more"
            );
            metrics::counter!("alerts_webhook_dropped_total", "reason" => "removed")
                .increment(left as u64);
        }
    }
    Ok(())
}

pub(super) fn write(
    transaction: &Transaction<'_>,
    alerts: &[AlertMessage],
    outlets: &Outlets,
) -> Result<(u64, u64), StoreError> {
    if alerts.is_empty() {
        return Ok((0, 0));
    }
    let (mut left_out, mut too_old) = (0, 0);
    let mut waiting = Vec::new();
    for hook in &outlets.hooks {
        waiting.push(self::waiting(transaction, hook)?);
    }
    for alert in alerts {
        transaction
            .prepare("INSERT INTO alert (is_published, json) VALUES (0, ?1)")?
            .execute([write_json(alert)?])?;
        let id = transaction.last_insert_rowid();
        if alert.raised_ms.saturating_sub(alert.end_ms) > outlets.age_max_ms {
            too_old += outlets.hooks.len() as u64;
            continue;
        }
        for (hook, waiting) in outlets.hooks.iter().zip(&mut waiting) {
            if *waiting >= outlets.queue_max as u64 {
                left_out += 1;
                continue;
            }
            *waiting += 1;
            transaction
                .prepare("INSERT INTO delivery (hook, alert, attempts) VALUES (?1, ?2, 0)")?
                .execute(params![hook, id])?;
        }
    }
    let kept = i64::try_from(outlets.recent_max).unwrap_or(i64::MAX);
    transaction.execute(
        "DELETE FROM alert WHERE is_published = 1
             AND id <= (SELECT max(id) FROM alert) - ?1
             AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.alert = alert.id)",
        [kept],
    )?;
    Ok((left_out, too_old))
}

pub(super) fn unpublished(connection: &Connection) -> Result<Option<Queued>, StoreError> {
    let row = connection
        .prepare("SELECT id, json FROM alert WHERE is_published = 0 ORDER BY id LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
        .optional()?;
    row.map(|(id, json)| {
        Ok(Queued {
            id,
            alert: read(&json)?,
        })
    })
    .transpose()
}

pub(super) fn count_unpublished(connection: &Connection) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare("SELECT count(*) FROM alert WHERE is_published = 0")?
        .query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(super) fn published(connection: &Connection, id: i64) -> Result<(), StoreError> {
    connection
        .prepare("UPDATE alert SET is_published = 1 WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

pub(super) fn recent(connection: &Connection, limit: u32) -> Result<Vec<AlertMessage>, StoreError> {
    let mut statement = connection.prepare("SELECT json FROM alert ORDER BY id DESC LIMIT ?1")?;
    let rows = statement.query_map([limit], |row| row.get::<_, String>(0))?;
    rows.map(|json| read(&json?)).collect()
}

pub(super) fn undelivered(
    connection: &Connection,
    hook: &str,
) -> Result<Option<Delivery>, StoreError> {
    let row = connection
        .prepare(
            "SELECT alert.id, alert.json, delivery.attempts FROM delivery
                 JOIN alert ON alert.id = delivery.alert
                 WHERE delivery.hook = ?1 ORDER BY delivery.alert LIMIT 1",
        )?
        .query_row([hook], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
        })
        .optional()?;
    row.map(|(id, json, attempts)| {
        let alert = read(&json)?;
        Ok(Delivery {
            id,
            alert,
            attempts,
        })
    })
    .transpose()
}

pub(super) fn delivered(connection: &Connection, hook: &str, id: i64) -> Result<(), StoreError> {
    connection
        .prepare("DELETE FROM delivery WHERE hook = ?1 AND alert = ?2")?
        .execute(params![hook, id])?;
    Ok(())
}

pub(super) fn failed(connection: &Connection, hook: &str, id: i64) -> Result<(), StoreError> {
    connection
        .prepare("UPDATE delivery SET attempts = attempts + 1 WHERE hook = ?1 AND alert = ?2")?
        .execute(params![hook, id])?;
    Ok(())
}

pub(super) fn waiting(connection: &Connection, hook: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare("SELECT count(*) FROM delivery WHERE hook = ?1")?
        .query_row([hook], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}
