//! Files as venues publish them, whose rows follow from their position.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// 2024-08-01T00:00Z.
pub(crate) const START_MS: i64 = 1_722_470_400_000;

pub(crate) fn write(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).expect("space");
    path
}

pub(crate) fn gzip(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    let mut file = GzEncoder::new(File::create(&path).expect("space"), Compression::fast());
    file.write_all(content.as_bytes()).expect("space");
    file.finish().expect("space");
    path
}

pub(crate) fn zip(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    let mut archive = ZipWriter::new(File::create(&path).expect("space"));
    let options = SimpleFileOptions::default();
    archive.start_file("rows.csv", options).expect("space");
    archive.write_all(content.as_bytes()).expect("space");
    archive.finish().expect("space");
    path
}

/// Bars of a minute, as data.binance.vision has them; `stamp` is 1 for ms and 1,000 for µs.
pub(crate) fn klines(count: i64, stamp: i64) -> String {
    let mut text = String::new();
    for index in 0..count {
        let start = START_MS + index * 60_000;
        let close = 61_000 + index % 977;
        let _ = writeln!(
            text,
            "{},61000.10,{}.50,60999.00,{close}.25,{}.5,{},9{index}.125,7,{index}.25,8{index}.5,0",
            start * stamp,
            close + 1,
            index + 1,
            (start + 59_999) * stamp + (stamp - 1),
        );
    }
    text
}

pub(crate) const KLINE_HEADER: &str = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n";

/// Trades in order; every third shares its millisecond with the one before.
pub(crate) fn trade_lines(count: i64) -> String {
    let mut text = String::new();
    for index in 0..count {
        let _ = writeln!(
            text,
            "{},{}.50,0.00{}00,{},{},{},True",
            900 + index,
            61_000 + index % 97,
            index % 9 + 1,
            index,
            START_MS + (index - i64::from(index % 3 == 2)) * 40,
            if index % 2 == 0 { "True" } else { "False" },
        );
    }
    text
}
