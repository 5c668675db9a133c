// @binance/spot with other URLs.

import { strict as assert } from "node:assert";
import { setTimeout as pause } from "node:timers/promises";

import { Spot } from "@binance/spot";

const [address] = process.argv.slice(2);
const HTTP = `http://${address}/binance`;
const DEADLINE_MS = 150_000;
// A row may reach REST a moment after the socket has the kline.
const ROW_DEADLINE_MS = 20_000;
const ROW_KEYS = "tohlcvTqnVQB";

const client = new Spot({
    configurationRestAPI: { apiKey: "", apiSecret: "", basePath: HTTP },
    configurationWebsocketStreams: { wsURL: `ws://${address}/binance` },
});

const timer = setTimeout(() => {
    console.error(`@binance/spot: not done within ${DEADLINE_MS} ms`);
    process.exit(1);
}, DEADLINE_MS);

async function rows(query) {
    const response = await client.restAPI.klines(query);
    return response.data();
}

const connection = await client.websocketStreams.connect();
const stream = connection.kline({ symbol: "btcusdt", interval: "1s" });
const closed = await new Promise((resolve) => {
    const opened = new Set();
    // The feed may have begun within the first one: it lacks trades, and REST may have the venue's.
    let first = null;
    stream.on("message", ({ k: kline }) => {
        first ??= kline.t;
        if (!kline.x) {
            opened.add(kline.t);
        } else if (opened.has(kline.t) && kline.t > first) {
            resolve(kline);
        }
    });
});
stream.unsubscribe();
const average = connection.avgPrice({ symbol: "btcusdt" });
const { s: averaged, i: width, w: price } = await new Promise((resolve) => average.on("message", resolve));
assert.deepEqual([averaged, width], ["BTCUSDT", "5m"]);
assert.ok(Number(price) > 0, price);
average.unsubscribe();
await connection.disconnect();

const expected = [...ROW_KEYS].map((key) => closed[key]);
const until = Date.now() + ROW_DEADLINE_MS;
for (;;) {
    const [row] = await rows({ symbol: "BTCUSDT", interval: "1s", startTime: closed.t, limit: 1 });
    try {
        assert.deepEqual(row?.map(String), expected.map(String));
        break;
    } catch (error) {
        if (Date.now() > until) {
            throw error;
        }
        await pause(50);
    }
}

const newest = await rows({ symbol: "BTCUSDT", interval: "1s", limit: 3 });
assert.equal(newest.length, 3);
const info = await (await client.restAPI.exchangeInfo({ symbol: "BTCUSDT" })).data();
assert.equal(info.symbols[0].symbol, "BTCUSDT");
const day = await (await client.restAPI.tickerTradingDay({ symbol: "BTCUSDT" })).data();
assert.ok(day.count > 0 && Number(day.lastPrice) > 0, JSON.stringify(day));
await assert.rejects(rows({ symbol: "NOSUCH", interval: "1s" }), /Invalid symbol/);
clearTimeout(timer);
console.log("@binance/spot: ok");
