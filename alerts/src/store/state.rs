//! Rules, the state of the engine, and the place in the stream.

use market_core::Symbol;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::error::StoreError;
use super::json::{read, write_json};
use super::kept::{Commit, Loaded, Source, StoredRule};
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

pub(super) fn load(connection: &Connection) -> Result<Loaded, StoreError> {
    let column =
        |row: &Row<'_>, index: usize| row.get::<_, String>(index).map_err(StoreError::from);
    let place: Option<String> = connection
        .query_row("SELECT json FROM place", [], |row| row.get(0))
        .optional()?;
    let place = place.map(|json| read(&json)).transpose()?;
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
        place,
        rules,
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
