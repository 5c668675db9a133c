//! What the server answers to questions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The answer to one statement.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Statement {
    #[serde(default)]
    pub(super) series: Vec<Series>,
    /// Why there is none.
    pub(super) error: Option<String>,
    /// Some rows are left out, because the server has a bound.
    #[serde(default)]
    partial: bool,
}

/// The points of one series, or of all series of a measurement.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    results: Vec<Statement>,
    error: Option<String>,
}

/// Reads a body. The reason if it is none.
pub(super) fn statements(body: &[u8]) -> Result<Vec<Statement>, String> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("its answer cannot be read: {error}"))?;
    match body.error {
        Some(error) => Err(error),
        None => Ok(body.results),
    }
}

impl Statement {
    /// Whether rows are left out.
    pub(super) fn is_cut(&self) -> bool {
        self.partial || self.series.iter().any(|series| series.partial)
    }

    /// The time of the first point, ns.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.series.first()?.times().next()
    }
}

impl Series {
    fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The times of all points, ns.
    pub(super) fn times(&self) -> impl Iterator<Item = i64> {
        let column = self.column("time");
        let points = self.values.iter();
        points.filter_map(move |point| point.get(column?)?.as_i64())
    }

    /// The time, ns, and a text of all points that have it.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = (i64, &str)> {
        let (time, text) = (self.column("time"), self.column(name));
        let points = self.values.iter();
        points.filter_map(move |point| {
            Some((point.get(time?)?.as_i64()?, point.get(text?)?.as_str()?))
        })
    }

    /// Some columns of each row.
    pub(super) fn columns<const N: usize>(
        &self,
        names: [&str; N],
    ) -> impl Iterator<Item = [Option<&Value>; N]> {
        let columns = names.map(|name| self.column(name));
        let rows = self.values.iter();
        rows.map(move |row| columns.map(|column| row.get(column?)))
    }

    /// A tag, which is empty if the series has none.
    pub(super) fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// The numbers of a column.
    pub(super) fn numbers(&self, name: &str) -> impl Iterator<Item = u64> {
        let column = self.column(name);
        let points = self.values.iter();
        points.filter_map(move |point| point.get(column?)?.as_u64())
    }
}
