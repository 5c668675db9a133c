//! Binance's REST answers about its symbols and their rules.

use serde_json::{Value, json};

use super::query::{Failure, symbols, time};
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::instrument::{Instrument, Venue};
use crate::venues::request::{Reply, Request};

/// `/sapi/v1/asset/tradeFee`
pub(super) fn trade_fees(exchange: &Exchange) -> Reply {
    let rows: Vec<Value> = exchange
        .listing
        .of(Venue::Binance)
        .map(|(_, instrument)| json!({"symbol": instrument.symbol, "makerCommission": "0.001", "takerCommission": "0.001"}))
        .collect();
    Reply::ok(Value::from(rows).to_string())
}

/// `/api/v3/executionRules`: the only rule, with the factors of the venue's documentation.
pub(super) fn execution_rules(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let (indexes, _) = symbols(exchange, request)?;
    let rule = json!({
        "ruleType": "PRICE_RANGE",
        "bidLimitMultUp": "2.0000", "bidLimitMultDown": "0.5000",
        "askLimitMultUp": "2.0000", "askLimitMultDown": "0.5000",
    });
    let rows: Vec<Value> = indexes
        .into_iter()
        .map(|index| json!({"symbol": exchange.instrument(index).symbol, "rules": [rule]}))
        .collect();
    Ok(Reply::ok(json!({"symbolRules": rows}).to_string()))
}

/// `/api/v3/exchangeInfo`
pub(super) fn exchange_info(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let (indexes, _) = symbols(exchange, request)?;
    let symbols: Vec<Value> = indexes
        .into_iter()
        .map(|index| symbol_info(exchange.instrument(index)))
        .collect();
    let info = json!({
        "timezone": "UTC",
        "serverTime": time(request),
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    });
    Ok(Reply::ok(info.to_string()))
}

/// The full shape: SDKs read the precisions and every filter; `filters[0]` is the PRICE_FILTER.
fn symbol_info(instrument: &Instrument) -> Value {
    let tick = decimal(i128::from(instrument.tick), instrument.price_scale, 8);
    let lot = decimal(i128::from(instrument.lot), instrument.quantity_scale, 8);
    let order_types = [
        "LIMIT",
        "LIMIT_MAKER",
        "MARKET",
        "STOP_LOSS",
        "STOP_LOSS_LIMIT",
        "TAKE_PROFIT",
        "TAKE_PROFIT_LIMIT",
    ];
    let min_notional = if instrument.quote == "BTC" {
        "0.00010000"
    } else {
        "5.00000000"
    };
    json!({
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": order_types,
        "icebergAllowed": true,
        "ocoAllowed": true,
        "otoAllowed": true,
        "opoAllowed": true,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": true,
        "cancelReplaceAllowed": true,
        "amendAllowed": true,
        "pegInstructionsAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00000000", "stepSize": lot},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": min_notional, "applyMinToMarket": true,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    })
}
