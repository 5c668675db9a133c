// Does a system survive its own clients? All of them reconnect within a few
// seconds, as after a network fault, and again and again; no handshake may fail
// and everyone has its snapshot each time.
//
//   k6 run --no-usage-report --address '' loadtest/k6/storm.js
//   environment: URL (ws://127.0.0.1:8080/ws), CONNECTIONS (2000),
//     RAMP_SECONDS (10), STORMS (3), STORM_SECONDS (5), CALM_SECONDS (10),
//     SYMBOLS (BTC-USD,ETH-USD), MAX_RATE (frames a second to each client, 1),
//     SNAPSHOT_P95_MS (5000), UPDATE_GAP_P99_MS (a frame's interval and 5000)
import { setTimeout } from 'k6/timers';
import { connect } from './lib/client.js';
import { report } from './lib/report.js';
import { number, text } from './lib/settings.js';
import { summaryTrendStats, thresholds } from './lib/thresholds.js';

const connections = number('CONNECTIONS', 2000);
const rampMs = 1000 * number('RAMP_SECONDS', 10);
const storms = number('STORMS', 3);
const stormMs = 1000 * number('STORM_SECONDS', 5);
const calmMs = 1000 * number('CALM_SECONDS', 10);
const symbols = text('SYMBOLS', 'BTC-USD,ETH-USD').split(',');
const maxRate = number('MAX_RATE', 1);
const perUser = 100;
const users = Math.max(1, Math.ceil(connections / perUser));
const wholeMs = rampMs + calmMs + storms * (stormMs + calmMs);

export const options = {
  scenarios: {
    storm: {
      executor: 'per-vu-iterations',
      vus: users,
      iterations: 1,
      maxDuration: `${Math.ceil(wholeMs / 1000) + 120}s`,
    },
  },
  thresholds: thresholds({
    connected: connections * (storms + 1),
    snapshotP95Ms: number('SNAPSHOT_P95_MS', 5000),
    updateGapP99Ms: number('UPDATE_GAP_P99_MS', 1000 / maxRate + 5000),
  }),
  summaryTrendStats,
};

export const handleSummary = report('storm');

export default function () {
  const first = (__VU - 1) * perUser;
  const mine = Math.min(perUser, connections - first);
  for (let i = 0; i < mine; i++) {
    const symbol = symbols[(first + i) % symbols.length];
    const open = () => connect({ op: 'sub', topics: [`kline:1m:${symbol}`], max_rate: maxRate });
    let client;
    setTimeout(() => { client = open(); }, (rampMs * (i * users + __VU)) / (perUser * users));
    for (let storm = 0; storm < storms; storm++) {
      const beginMs = rampMs + calmMs + storm * (stormMs + calmMs);
      setTimeout(() => {
        client.close();
        client = open();
      }, beginMs + stormMs * Math.random());
    }
    setTimeout(() => client.close(), wholeMs);
  }
}
