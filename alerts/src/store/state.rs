//! Rules, the state of the engine, and the place in the stream.

use market_core::Symbol;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::error::StoreError;
use super::json::{read, write_json};
use super::kept::{Commit, Loaded, Place, Source, StoredRule};
use crate::engine::{ActiveRule, Changes};

fn rows<T>(
    connection: &Connection,
    query: &str,
    of: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare(query)?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(of(row)?);
    }
    Ok(all)
}

fn text<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| StoreError::Damaged(error.to_string()))
}

/// The name of the setting that is the highest epoch.
const EPOCH_MAX: &str = "epoch_max";
/// The name of the setting that is the timeframe of the bars.
const TIMEFRAME: &str = "timeframe";

fn setting<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    name: &str,
) -> Result<Option<T>, StoreError> {
    let json: Option<String> = connection
        .query_row("SELECT json FROM setting WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    json.map(|json| read(&json)).transpose()
}

fn put_setting(
    transaction: &Transaction<'_>,
    name: &str,
    value: &impl serde::Serialize,
) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT OR REPLACE INTO setting (name, json) VALUES (?1, ?2)",
        [name, &write_json(value)?],
    )?;
    Ok(())
}

/// The highest epoch that a rule ever had.
fn epoch_max(connection: &Connection) -> Result<u64, StoreError> {
    // A store of version 1 has only those of the rules.
    let of_rules: i64 =
        connection.query_row("SELECT coalesce(max(epoch), 0) FROM rule", [], |row| {
            row.get(0)
        })?;
    let ever: Option<u64> = setting(connection, EPOCH_MAX)?;
    Ok(ever.unwrap_or(0).max(of_rules.unsigned_abs()))
}

pub(super) fn place(connection: &Connection) -> Result<Option<Place>, StoreError> {
    let place: Option<String> = connection
        .query_row("SELECT json FROM place", [], |row| row.get(0))
        .optional()?;
    place.map(|json| read(&json)).transpose()
}

pub(super) fn load(connection: &Connection) -> Result<Loaded, StoreError> {
    let column =
        |row: &Row<'_>, index: usize| row.get::<_, String>(index).map_err(StoreError::from);
    let rules = rows(
        connection,
        "SELECT is_of_file, epoch, json FROM rule",
        |row| {
            let is_of_file: bool = row.get(0)?;
            let epoch: i64 = row.get(1)?;
            Ok(StoredRule {
                active: ActiveRule {
                    rule: read(&column(row, 2)?)?,
                    epoch: epoch.unsigned_abs(),
                },
                source: if is_of_file {
                    Source::File
                } else {
                    Source::Http
                },
            })
        },
    )?;
    let symbols = rows(connection, "SELECT symbol, json FROM symbol", |row| {
        Ok((
            text::<Symbol>(&column(row, 0)?)?,
            Some(read(&column(row, 1)?)?),
        ))
    })?;
    let query = "SELECT symbol, start_ms, json FROM bar ORDER BY symbol, start_ms";
    let bars = rows(connection, query, |row| {
        Ok((
            text(&column(row, 0)?)?,
            row.get(1)?,
            Some(read(&column(row, 2)?)?),
        ))
    })?;
    let watches = rows(connection, "SELECT rule, symbol, json FROM watch", |row| {
        Ok((
            text(&column(row, 0)?)?,
            text(&column(row, 1)?)?,
            read(&column(row, 2)?)?,
        ))
    })?;
    Ok(Loaded {
        place: place(connection)?,
        rules,
        timeframe: setting(connection, TIMEFRAME)?,
        epoch_max: epoch_max(connection)?,
        state: Changes {
            bars,
            symbols,
            watches,
        },
    })
}

pub(super) fn write(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    if let Some(place) = &commit.place {
        transaction
            .prepare("INSERT OR REPLACE INTO place (only, json) VALUES (1, ?1)")?
            .execute([write_json(place)?])?;
    }
    if let Some(timeframe) = &commit.timeframe {
        put_setting(transaction, TIMEFRAME, timeframe)?;
    }
    write_rules(transaction, commit)?;
    let Changes {
        bars,
        symbols,
        watches,
    } = &commit.changes;
    let mut put = transaction
        .prepare("INSERT OR REPLACE INTO bar (symbol, start_ms, json) VALUES (?1, ?2, ?3)")?;
    let mut delete = transaction.prepare("DELETE FROM bar WHERE symbol = ?1 AND start_ms = ?2")?;
    for (symbol, start_ms, bar) in bars {
        match bar {
            Some(bar) => put.execute(params![symbol.as_str(), start_ms, write_json(bar)?])?,
            None => delete.execute(params![symbol.as_str(), start_ms])?,
        };
    }
    for (symbol, facts) in symbols {
        match facts {
            Some(facts) => {
                transaction
                    .prepare("INSERT OR REPLACE INTO symbol (symbol, json) VALUES (?1, ?2)")?
                    .execute(params![symbol.as_str(), write_json(facts)?])?;
            }
            None => {
                for table in ["symbol", "bar", "watch"] {
                    let delete = format!("DELETE FROM {table} WHERE symbol = ?1");
                    transaction.execute(&delete, [symbol.as_str()])?;
                }
            }
        }
    }
    let mut put = transaction
        .prepare("INSERT OR REPLACE INTO watch (rule, symbol, json) VALUES (?1, ?2, ?3)")?;
    for (rule, symbol, watch) in watches {
        put.execute(params![rule.as_str(), symbol.as_str(), write_json(watch)?])?;
    }
    Ok(())
}

fn write_rules(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), StoreError> {
    if let Some(epoch) = &commit.epoch_max {
        put_setting(transaction, EPOCH_MAX, epoch)?;
    }
    // A rule that is put again begins anew.
    let names = commit.rules_put.iter().map(|put| &put.active.rule.name);
    for name in names.chain(&commit.rules_removed) {
        let name = name.as_str();
        transaction.execute("DELETE FROM rule WHERE name = ?1", [name])?;
        transaction.execute("DELETE FROM watch WHERE rule = ?1", [name])?;
    }
    for StoredRule { active, source } in &commit.rules_put {
        let epoch = i64::try_from(active.epoch).unwrap_or(i64::MAX);
        transaction.execute(
            "INSERT INTO rule (name, is_of_file, epoch, json) VALUES (?1, ?2, ?3, ?4)",
            params![
                active.rule.name.as_str(),
                *source == Source::File,
                epoch,
                write_json(&active.rule)?
            ],
        )?;
    }
    if let Some((name, epoch)) = &commit.lifted {
        let epoch = i64::try_from(*epoch).unwrap_or(i64::MAX);
        transaction.execute(
            "UPDATE rule SET epoch = ?2 WHERE name = ?1",
            params![name.as_str(), epoch],
        )?;
        transaction.execute(
            "UPDATE alert SET json = json_set(json, '$.epoch', ?2)
                 WHERE is_published = 0 AND json_extract(json, '$.rule') = ?1",
            params![name.as_str(), epoch],
        )?;
    }
    Ok(())
}
