//! `/api/v3/klines` and `/api/v3/uiKlines`.

use market_core::Width;
use market_core::binance::kline;

use super::failure::{self, Answer, Failure};
use super::listing::Market;
use super::query::Parameters;
use super::rows::Wanted;

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1_000;

/// The intervals of Binance.
const INTERVALS: [&str; 16] = [
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w",
    "1M",
];

/// Bars by ascending time. Without a start they are the newest ones, the forming one last.
pub(super) async fn klines(market: &Market, parameters: &Parameters) -> Answer {
    let listed = parameters.symbol(market)?;
    let wanted = wanted(parameters)?;
    let width = wanted.width;
    let rows = market.rows(&listed.instrument, wanted).await?;
    let mut json = String::with_capacity(2 + rows.len() * 160);
    json.push('[');
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&kline::row(row, width));
    }
    json.push(']');
    Ok(json)
}

/// Which bars are asked for.
pub(super) fn wanted(parameters: &Parameters) -> Result<Wanted, Failure> {
    let interval = parameters
        .get("interval")
        .ok_or_else(|| failure::missing("interval"))?;
    let width: Width = interval
        .parse()
        .ok()
        .filter(|_| INTERVALS.contains(&interval))
        .ok_or_else(failure::invalid_interval)?;
    if let Some(zone) = parameters.get("timeZone")
        && !matches!(zone, "0" | "0:00" | "00:00" | "+0:00" | "+00:00")
    {
        return Err(failure::invalid("timeZone", "days begin at 0:00 UTC here"));
    }
    let end_ms = parameters.time_ms("endTime")?;
    Ok(Wanted {
        width,
        from_ms: parameters.time_ms("startTime")?,
        to_ms: end_ms.map(|end| end.saturating_add(1)),
        limit: parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)?,
    })
}
