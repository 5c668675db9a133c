//! Raw frames of Binance, as a client received them.

use std::io::Read as _;
use std::path::Path;

/// Two days of BTCUSDT: a line for each frame. None without `KLINECAST_CAPTURES`, or without the files.
pub(crate) fn btcusdt() -> Option<String> {
    let folder = std::env::var("KLINECAST_CAPTURES").ok()?;
    let mut text = String::new();
    for day in ["20240808", "20240809"] {
        let file = std::fs::File::open(
            Path::new(&folder).join(format!("binance-spot-raw/btcusdt_{day}.gz")),
        )
        .ok()?;
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("a gzip file of text");
    }
    Some(text)
}
