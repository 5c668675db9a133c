//! The report of a strategy: its trades, and the worth of its account as a picture.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;

use crate::account::Account;
use crate::strategy::Run;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 300.0;
const MARGIN: f64 = 40.0;
/// More points cannot be told apart.
const POINTS: usize = 400;

/// Writes `report.json` and `equity.svg`.
///
/// # Errors
/// If the folder cannot be written to.
pub fn write(folder: &Path, run: &Run) -> io::Result<()> {
    let account = &run.account;
    let trades: Vec<_> = account
        .fills
        .iter()
        .map(|fill| {
            json!({
                "start_ms": fill.start_ms,
                "side": fill.side.to_string(),
                "price": fill.price.to_string(),
                "quantity": fill.quantity.to_string(),
                "cash": fill.cash.to_string(),
            })
        })
        .collect();
    let report = json!({
        "bars": account.equity.len(),
        "revised_bars": run.revised,
        "start_cash": account.start_cash.to_string(),
        "worth": account.worth().to_string(),
        "drawdown_percent": account.drawdown_percent().to_string(),
        "trades": trades,
    });
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.json"), format!("{report:#}\n"))?;
    std::fs::write(folder.join("equity.svg"), picture(account))
}

/// The worth over time as SVG.
#[must_use]
pub fn picture(account: &Account) -> String {
    let step = (account.equity.len() / POINTS).max(1);
    let last = account.equity.last();
    let points: Vec<(i64, Decimal)> = account
        .equity
        .iter()
        .step_by(step)
        .chain(last)
        .copied()
        .collect();
    let worths = || points.iter().map(|(_, worth)| *worth);
    let (low, high) = (
        worths().min().unwrap_or_default(),
        worths().max().unwrap_or_default(),
    );
    let (begin, end) = (
        points.first().map_or(0, |at| at.0),
        last.map_or(0, |at| at.0),
    );
    let share = |part: Decimal, whole: Decimal| {
        part.checked_div(whole)
            .and_then(|share| share.to_f64())
            .unwrap_or(0.0)
    };
    let mut line = String::new();
    for (at, worth) in points {
        let across = share(Decimal::from(at - begin), Decimal::from(end - begin));
        let up = share(worth - low, high - low);
        let x = MARGIN + (WIDTH - 2.0 * MARGIN) * across;
        let y = HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * up;
        let _ = write!(line, "{x:.1},{y:.1} ");
    }
    let line = line.trim_end();
    let baseline = HEIGHT - 12.0;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">
<title>Worth of the account</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<polyline fill="none" stroke="#1565c0" stroke-width="1.5" points="{line}"/>
<text x="{MARGIN}" y="{baseline}" font-family="sans-serif" font-size="12">{begin} to {end} ms: {low:.2} to {high:.2}</text>
</svg>
"##
    )
}
