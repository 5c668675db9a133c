//! Tickers of other spans than 24 hours: `/api/v3/ticker` of a window that ends now, and
//! `/api/v3/ticker/tradingDay` of a day.

use market_core::{BarRow, Timeframe, UnixMillis};
use service::wall_clock_ms;

use super::failure::{self, Answer, Failure};
use super::listing::{Listed, Market};
use super::query::Parameters;
use super::rows::Wanted;
use super::span::{self, silent};
use super::ticker::one_or_all;

/// Most symbols of one request, as on Binance.
const SYMBOLS_MAX: usize = 100;
const MINUTE_MS: UnixMillis = 60_000;
const HOUR_MS: UnixMillis = 60 * MINUTE_MS;
const DAY_MS: UnixMillis = 24 * HOUR_MS;

/// A span of time: its first millisecond, and the last one that the answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Window {
    open_ms: UnixMillis,
    close_ms: UnixMillis,
}

/// Bars of one width: `[from_ms, to_ms)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    timeframe: Timeframe,
    from_ms: UnixMillis,
    /// `None` for up to now.
    to_ms: Option<UnixMillis>,
    limit: usize,
}

/// The window that ends now.
pub(super) async fn rolling(market: &Market, parameters: &Parameters) -> Answer {
    let window_ms = window_ms(parameters.get("windowSize").unwrap_or("1d"))?;
    let now_ms = wall_clock_ms();
    answer(
        market,
        parameters,
        rolling_window(window_ms, now_ms),
        now_ms,
    )
    .await
}

/// The day that is now, of the zone of the request.
pub(super) async fn trading_day(market: &Market, parameters: &Parameters) -> Answer {
    let zone_ms = zone_ms(parameters.get("timeZone").unwrap_or("0"))?;
    let now_ms = wall_clock_ms();
    answer(market, parameters, day_of(zone_ms, now_ms), now_ms).await
}

async fn answer(
    market: &Market,
    parameters: &Parameters,
    window: Window,
    now_ms: UnixMillis,
) -> Answer {
    let row = match parameters.get("type") {
        None | Some("FULL") => span::whole,
        Some("MINI") => span::small,
        Some(_) => return Err(failure::invalid("type", "write FULL or MINI")),
    };
    if parameters
        .get("symbol")
        .or(parameters.get("symbols"))
        .is_none()
    {
        return Err(failure::missing("symbol"));
    }
    let (listed, is_one) = parameters.symbols(market)?;
    if listed.len() > SYMBOLS_MAX {
        return Err(failure::invalid("symbols", "name at most 100"));
    }
    let mut rows = Vec::with_capacity(listed.len());
    for listed in &listed {
        let bars = bars(market, listed, window.open_ms, now_ms).await?;
        let times = (window.open_ms, window.close_ms);
        rows.extend(row(&listed.name, &bars, times));
    }
    one_or_all(rows, is_one)
}

/// The bars since a start. A market that was silent since then has its last price, and no volume.
async fn bars(
    market: &Market,
    listed: &Listed,
    from_ms: UnixMillis,
    now_ms: UnixMillis,
) -> Result<Vec<BarRow>, Failure> {
    let (mut bars, mut last) = (Vec::new(), None);
    for part in parts(from_ms, now_ms) {
        let wanted = Wanted {
            width: part.timeframe.into(),
            from_ms: None,
            to_ms: part.to_ms,
            limit: part.limit,
        };
        let rows = market.stored_rows(&listed.instrument, wanted).await?;
        last = rows.last().copied().or(last);
        let is_in_it = |row: &BarRow| row.start_ms >= part.from_ms;
        bars.extend(rows.into_iter().filter(is_in_it));
    }
    if bars.is_empty() {
        bars.extend(last.map(silent));
    }
    Ok(bars)
}

/// Minutes; in a longer span, hours between two pieces of hours. By ascending time, without a hole.
fn parts(from_ms: UnixMillis, now_ms: UnixMillis) -> Vec<Part> {
    let part = |timeframe: Timeframe,
                width_ms: UnixMillis,
                from_ms: UnixMillis,
                to_ms: Option<UnixMillis>| {
        // The bar that is forming, and one that began while this was asked.
        let until_ms = to_ms.unwrap_or(now_ms.saturating_add(2 * width_ms));
        let count = until_ms.saturating_sub(from_ms) / width_ms;
        Part {
            timeframe,
            from_ms,
            to_ms,
            limit: usize::try_from(count).unwrap_or_default(),
        }
    };
    if now_ms.saturating_sub(from_ms) <= DAY_MS + HOUR_MS {
        return vec![part(Timeframe::MINUTE, MINUTE_MS, from_ms, None)];
    }
    let first_hour_ms = Timeframe::HOUR.start_of(from_ms.saturating_add(HOUR_MS - 1));
    let last_hour_ms = Timeframe::HOUR.start_of(now_ms);
    let parts = [
        part(Timeframe::MINUTE, MINUTE_MS, from_ms, Some(first_hour_ms)),
        part(Timeframe::HOUR, HOUR_MS, first_hour_ms, Some(last_hour_ms)),
        part(Timeframe::MINUTE, MINUTE_MS, last_hour_ms, None),
    ];
    parts.into_iter().filter(|part| part.limit > 0).collect()
}

/// It begins with a minute, so it can be almost a minute longer, as on Binance.
fn rolling_window(window_ms: UnixMillis, now_ms: UnixMillis) -> Window {
    Window {
        open_ms: Timeframe::MINUTE.start_of(now_ms.saturating_sub(window_ms)),
        close_ms: now_ms,
    }
}

fn day_of(zone_ms: UnixMillis, now_ms: UnixMillis) -> Window {
    let there_ms = now_ms.saturating_add(zone_ms);
    let open_ms = Timeframe::DAY.start_of(there_ms).saturating_sub(zone_ms);
    Window {
        open_ms,
        close_ms: open_ms.saturating_add(DAY_MS - 1),
    }
}

/// The width of `windowSize`: `1m` to `59m`, `1h` to `23h`, and `1d` to `7d`.
fn window_ms(text: &str) -> Result<UnixMillis, Failure> {
    let units = [("m", 59, MINUTE_MS), ("h", 23, HOUR_MS), ("d", 7, DAY_MS)];
    let of_unit = |(unit, most, unit_ms): (&str, UnixMillis, UnixMillis)| {
        let number = whole(text.strip_suffix(unit)?)?;
        (1..=most).contains(&number).then(|| number * unit_ms)
    };
    let window_ms = units.into_iter().find_map(of_unit);
    window_ms
        .ok_or_else(|| failure::invalid("windowSize", "write 1m to 59m, 1h to 23h, or 1d to 7d"))
}

/// How far the clocks of `timeZone` are ahead of UTC: `8`, `+05:30`, `-1:00`; -12:00 to 14:00.
fn zone_ms(text: &str) -> Result<UnixMillis, Failure> {
    let read = || {
        let (is_behind, clock) = match text.strip_prefix('-') {
            Some(clock) => (true, clock),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (hours, minutes) = clock.split_once(':').unwrap_or((clock, "00"));
        let (hours, minutes) = (whole(hours)?, whole(minutes)?);
        let ahead_ms = hours * HOUR_MS + minutes * MINUTE_MS;
        let zone_ms = if is_behind { -ahead_ms } else { ahead_ms };
        let is_zone = minutes < 60 && (-12 * HOUR_MS..=14 * HOUR_MS).contains(&zone_ms);
        is_zone.then_some(zone_ms)
    };
    read().ok_or_else(|| failure::invalid("timeZone", "write -12:00 to 14:00"))
}

/// One or two digits.
fn whole(text: &str) -> Option<UnixMillis> {
    let is_whole = matches!(text.len(), 1 | 2) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_whole.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_and_zones_are_those_of_binance() {
        for (text, width_ms) in [
            ("1m", MINUTE_MS),
            ("59m", 59 * MINUTE_MS),
            ("4h", 4 * HOUR_MS),
            ("7d", 7 * DAY_MS),
        ] {
            assert_eq!(window_ms(text).ok(), Some(width_ms), "{text}");
        }
        for text in [
            "", "m", "0m", "60m", "24h", "8d", "1w", "+1m", "-1m", "1 m", "1000000m",
        ] {
            assert!(window_ms(text).is_err(), "{text}");
        }
        for (text, minutes) in [
            ("0", 0),
            ("8", 480),
            ("+8:00", 480),
            ("-1:30", -90),
            ("-12:00", -720),
            ("14:00", 840),
        ] {
            assert_eq!(zone_ms(text).ok(), Some(minutes * MINUTE_MS), "{text}");
        }
        for text in [
            "",
            "+",
            "15",
            "-12:01",
            "14:01",
            "1:60",
            "--1",
            "1:",
            "é:00",
            "999999999",
        ] {
            assert!(zone_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_begins_at_the_midnight_of_its_zone() {
        // 2023-09-26 13:20 UTC.
        let now_ms = 1_695_734_400_000;
        let day = day_of(0, now_ms);
        assert_eq!(day.open_ms, 1_695_686_400_000);
        assert_eq!(day.close_ms, 1_695_772_799_999);
        assert_eq!(
            day_of(8 * HOUR_MS, now_ms).open_ms,
            day.open_ms - 8 * HOUR_MS
        );
        assert_eq!(
            day_of(-12 * HOUR_MS, now_ms).open_ms,
            day.open_ms + 12 * HOUR_MS
        );
        assert_eq!(
            day_of(14 * HOUR_MS, now_ms).open_ms,
            day.open_ms + 10 * HOUR_MS
        );
    }

    proptest! {
        #[test]
        fn the_parts_of_a_window_adjoin_and_are_few(
            now_ms in 1_600_000_000_000_i64..1_900_000_000_000,
            minutes in 1_i64..=7 * 1_440,
        ) {
            let window = rolling_window(minutes * MINUTE_MS, now_ms);
            prop_assert!((0..MINUTE_MS).contains(&(now_ms - minutes * MINUTE_MS - window.open_ms)));
            let parts = parts(window.open_ms, now_ms);
            let mut at_ms = window.open_ms;
            for part in &parts {
                prop_assert_eq!(part.from_ms, at_ms);
                prop_assert_eq!(part.timeframe.start_of(at_ms), at_ms);
                if let Some(to_ms) = part.to_ms {
                    prop_assert_eq!(part.timeframe.start_of(to_ms), to_ms);
                }
                at_ms = part.to_ms.unwrap_or(now_ms);
            }
            prop_assert_eq!(at_ms, now_ms);
            prop_assert_eq!(parts.last().and_then(|part| part.to_ms), None);
            let bars: usize = parts.iter().map(|part| part.limit).sum();
            prop_assert!(bars <= 1_502, "{} bars", bars);
        }
    }
}
