//! `history export`.

use std::fs::{self, File};
use std::path::Path;
use std::process::Output;

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};
use testkit::directory::Directory;

use crate::files::{START_MS, klines, trade_lines, write};
use crate::{bars, command, import, open, stderr, succeeded};

const BARS: i64 = 25_000;

/// A store with more bars than three pages, and trades.
fn filled() -> Directory {
    let (files, store) = (Directory::new(), Directory::new());
    let rows = write(files.path(), "rows.csv", klines(BARS, 1).as_bytes());
    let trades = write(files.path(), "trades.csv", trade_lines(3_000).as_bytes());
    succeeded(&import(store.path(), &[], &[&rows, &trades]));
    store
}

fn export(store: &Path, flags: &[&str]) -> Output {
    let mut command = command(store, "export");
    command.args(["--exchange", "binance", "--symbol", "BTC-USDT"]);
    command.args(flags).output().expect("started")
}

fn rows_of_parquet(file: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(file).expect("a file")).expect("Parquet");
    let rows = reader.get_row_iter(None).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn field<'a>(row: &'a Row, name: &str) -> &'a Field {
    let mut columns = row.get_column_iter();
    columns
        .find(|(other, _)| *other == name)
        .expect("a column")
        .1
}

#[test]
fn an_exported_csv_imports_as_the_same_bars() {
    let (store, other, files) = (filled(), Directory::new(), Directory::new());
    let file = files.path().join("bars.csv");
    let output = export(store.path(), &["--output", &file.display().to_string()]);
    succeeded(&output);
    assert!(stderr(&output).contains("25000 rows"));
    let lines = fs::read_to_string(&file).expect("a file");
    assert_eq!(lines.lines().count(), 25_001, "one header");
    succeeded(&import(other.path(), &["--width", "1m"], &[&file]));
    let (first, second) = (
        bars(&open(store.path()), "1m"),
        bars(&open(other.path()), "1m"),
    );
    assert_eq!(second.len(), 25_000);
    assert!(first.iter().zip(&second).all(|(a, b)| a.says_the_same(b)));
}

#[test]
fn lines_of_json_are_the_bars_of_any_width_in_the_range() {
    let store = filled();
    let (from, to) = (START_MS.to_string(), "2024-08-01T14:00:00Z");
    let flags = [
        "--width", "7m", "--format", "ndjson", "--from", &from, "--to", to,
    ];
    let lines = succeeded(&export(store.path(), &flags));
    let bars: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    // The multiples of seven minutes since 1970 that start in fourteen hours.
    let width = 7 * 60_000;
    let first = (START_MS + width - 1) / width * width;
    let starts = (first..START_MS + 14 * 3_600_000).step_by(7 * 60_000);
    let got: Vec<_> = bars.iter().map(|bar| bar["start_ms"].as_i64()).collect();
    assert!(got.into_iter().eq(starts.map(Some)));
    assert_eq!(bars[0]["topic"], "kline:7m:BTC-USDT");
    assert_eq!(bars[0]["count"], 49);
}

#[test]
fn parquet_has_exact_decimals_times_and_absent_values() {
    let (store, files) = (filled(), Directory::new());
    let file = files.path().join("bars.parquet");
    let name = file.display().to_string();
    succeeded(&export(
        store.path(),
        &["--format", "parquet", "--output", &name],
    ));
    let rows = rows_of_parquet(&file);
    let stored = bars(&open(store.path()), "1m");
    assert_eq!(rows.len(), stored.len());
    for (row, bar) in rows.iter().zip(&stored) {
        assert_eq!(
            field(row, "start_ms"),
            &Field::TimestampMillis(bar.start_ms)
        );
        assert_eq!(field(row, "count"), &Field::ULong(7));
        assert_eq!(field(row, "event_ms"), &Field::Null);
        let Field::Decimal(volume) = field(row, "quote_volume") else {
            panic!("no decimal: {row:?}");
        };
        let mantissa: [u8; 16] = volume.data().try_into().expect("16 bytes");
        let (exact, scale) = bar.quote_volume.expect("Binance says it").parts();
        let expected = exact * 10i128.pow(18 - scale);
        assert_eq!(
            (i128::from_be_bytes(mantissa), volume.scale()),
            (expected, 18)
        );
    }

    let name = files.path().join("trades.parquet");
    let flags = [
        "--trades",
        "--format",
        "parquet",
        "--output",
        &name.display().to_string(),
    ];
    succeeded(&export(store.path(), &flags));
    let rows = rows_of_parquet(&name);
    assert_eq!(rows.len(), 3_000);
    assert_eq!(field(&rows[2_999], "first_id"), &Field::ULong(3_899));
}

#[test]
fn an_arrow_stream_has_one_schema_and_one_end_whatever_its_pages() {
    let store = filled();
    let stream = |flags: &[&str]| {
        let output = export(store.path(), &[&["--format", "arrow"], flags].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    let (all, one) = (stream(&[]), stream(&["--to", "2024-08-01T00:01:00Z"]));
    // A message: a mark, the length of its metadata, and the metadata.
    let schema_bytes = u32::from_le_bytes(all[4..8].try_into().expect("four bytes")) as usize + 8;
    assert_eq!(all[..schema_bytes], one[..schema_bytes]);
    let end = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(all.ends_with(&end) && one.ends_with(&end));
    let ends = |bytes: &[u8]| bytes.windows(8).filter(|window| *window == end).count();
    assert_eq!((ends(&all), ends(&one)), (1, 1));
    let schemas = |bytes: &[u8]| {
        bytes
            .windows(20)
            .filter(|window| *window == &all[..20])
            .count()
    };
    assert_eq!(schemas(&all), 1);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let (store, files) = (Directory::new(), Directory::new());
    // A quote volume with twenty places.
    let line = format!(
        "{START_MS},1,2,1,2,1,{},1.00000000000000000001,1,1,1,0\n",
        START_MS + 59_999
    );
    let row = write(files.path(), "row.csv", line.as_bytes());
    succeeded(&import(store.path(), &[], &[&row]));
    let file = files.path().join("bars.parquet");
    let output = export(
        store.path(),
        &[
            "--format",
            "parquet",
            "--output",
            &file.display().to_string(),
        ],
    );
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("--format csv"),
        "{said}"
    );
    let left: Vec<_> = fs::read_dir(files.path())
        .expect("a directory")
        .flatten()
        .collect();
    assert_eq!(left.len(), 1, "the imported file alone: {left:?}");
    let lines = succeeded(&export(store.path(), &[]));
    assert!(lines.contains("1.00000000000000000001"), "{lines}");
}

#[test]
fn what_is_not_stored_is_an_error_that_says_so() {
    let store = filled();
    let mut unknown = command(store.path(), "export");
    unknown.args(["--exchange", "okx", "--symbol", "BTC-USDT"]);
    let output = unknown.output().expect("started");
    let said = stderr(&output);
    assert!(
        !output.status.success() && said.contains("no bars of BTC-USDT at okx"),
        "{said}"
    );
    let output = export(store.path(), &["--width", "10s"]);
    assert!(
        stderr(&output).contains("cannot be made of"),
        "{}",
        stderr(&output)
    );
    let output = export(store.path(), &["--from", "yesterday"]);
    assert!(
        stderr(&output).contains("2026-03-01T12:00:00Z"),
        "{}",
        stderr(&output)
    );
}
