//! `/api/v3/exchangeInfo` and `/sapi/v1/asset/tradeFee`, in the full shape: SDKs read the
//! precisions and every filter, and expect the PRICE_FILTER first.

use market_core::binance::asset_names;
use market_core::binance::decimal::step;
use serde_json::{Value, json};
use service::wall_clock_ms;

use super::failure::Answer;
use super::listing::{Listed, Market};
use super::query::Parameters;
use crate::message::read_bar;

/// The scale of prices and quantities of a symbol without a known bar.
const SCALE_DEFAULT: u32 = 8;

/// What can be traded is what has bars. No orders are taken here, so the limits of orders are wide.
pub(super) fn exchange_info(market: &Market, parameters: &Parameters) -> Answer {
    let (listed, _) = parameters.symbols(market)?;
    let symbols: Vec<Value> = listed
        .iter()
        .map(|listed| symbol_info(market, listed))
        .collect();
    let info = json!({
        "timezone": "UTC",
        "serverTime": wall_clock_ms(),
        "rateLimits": [{
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
            "limit": market.weights.limit(),
        }],
        "exchangeFilters": [],
        "symbols": symbols,
    });
    Ok(info.to_string())
}

/// No fees are taken.
pub(super) fn trade_fees(market: &Market) -> String {
    let listing = market.listing();
    let fee =
        |name: &String| json!({"symbol": name, "makerCommission": "0", "takerCommission": "0"});
    let permitted = listing.values().filter(|listed| market.lists(listed));
    let fees: Vec<_> = permitted.map(|listed| fee(&listed.name)).collect();
    Value::from(fees).to_string()
}

fn symbol_info(market: &Market, listed: &Listed) -> Value {
    let (price_scale, quantity_scale) = scales(market, listed);
    let (tick, lot) = (step(price_scale), step(quantity_scale));
    let (base, quote) = asset_names(&listed.instrument.symbol);
    json!({
        "symbol": listed.name,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": SCALE_DEFAULT.max(quantity_scale),
        "quoteAsset": quote,
        "quotePrecision": SCALE_DEFAULT.max(price_scale),
        "quoteAssetPrecision": SCALE_DEFAULT.max(price_scale),
        "baseCommissionPrecision": SCALE_DEFAULT,
        "quoteCommissionPrecision": SCALE_DEFAULT,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": false,
        "ocoAllowed": false,
        "otoAllowed": false,
        "opoAllowed": false,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": false,
        "cancelReplaceAllowed": false,
        "amendAllowed": false,
        "pegInstructionsAllowed": false,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000000.00000000", "stepSize": lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "1000000000.00000000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": "0.00000001", "applyMinToMarket": true,
             "maxNotional": "1000000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    })
}

/// The most digits behind the point of prices and of volumes in the newest bars. The venue's own
/// tick is not known here.
fn scales(market: &Market, listed: &Listed) -> (u32, u32) {
    let mut scales: Option<(u32, u32)> = None;
    for series in market.history.latest.of_instrument(&listed.instrument) {
        let newest = market.history.latest.of(&series);
        for payload in newest.closed.iter().chain(&newest.forming) {
            let Ok((_, row, _)) = read_bar(payload) else {
                continue;
            };
            let prices = [row.open, row.high, row.low, row.close];
            let price = prices.map(|price| price.parts().1).into_iter().max();
            let volume = row.volume.parts().1;
            let (held_price, held_volume) = scales.unwrap_or_default();
            scales = Some((held_price.max(price.unwrap_or(0)), held_volume.max(volume)));
        }
    }
    scales.unwrap_or((SCALE_DEFAULT, SCALE_DEFAULT))
}
