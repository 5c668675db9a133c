//! Raw frames of venues, as a client received them.

use std::io::Read as _;
use std::path::Path;

/// Two days of BTCUSDT: a line for each frame. None without `KLINECAST_CAPTURES`, or without the files.
pub(crate) fn btcusdt() -> Option<String> {
    text(&[
        "binance-spot-raw/btcusdt_20240808.gz",
        "binance-spot-raw/btcusdt_20240809.gz",
    ])
}

/// The text of these files; None without `KLINECAST_CAPTURES`, or without the files.
pub(crate) fn text(files: &[&str]) -> Option<String> {
    let folder = std::env::var("KLINECAST_CAPTURES").ok()?;
    let mut text = String::new();
    for file in files {
        let file = std::fs::File::open(Path::new(&folder).join(file)).ok()?;
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("a gzip file of text");
    }
    Some(text)
}
