// How many clients does a system take? Ramps up, holds, and closes; no
// handshake may fail and no connection may be cut.
//
//   k6 run --no-usage-report --address '' loadtest/k6/ramp.js     (make load)
//   environment: URL (ws://127.0.0.1:8080/ws), CONNECTIONS (10000),
//     RAMP_SECONDS (20), HOLD_SECONDS (30), SYMBOLS (BTC-USD,ETH-USD),
//     MAX_RATE (frames a second to each client, 0.2), SNAPSHOT_P95_MS (5000),
//     UPDATE_GAP_P99_MS (a frame's interval and 5000)
import { setTimeout } from 'k6/timers';
import { connect } from './lib/client.js';
import { report } from './lib/report.js';
import { number, text } from './lib/settings.js';
import { summaryTrendStats, thresholds } from './lib/thresholds.js';

const connections = number('CONNECTIONS', 10000);
const rampMs = 1000 * number('RAMP_SECONDS', 20);
const holdMs = 1000 * number('HOLD_SECONDS', 30);
const symbols = text('SYMBOLS', 'BTC-USD,ETH-USD').split(',');
const maxRate = number('MAX_RATE', 0.2);
// Many sockets per virtual user: each user is a JavaScript engine of its own.
const perUser = 200;
const users = Math.max(1, Math.ceil(connections / perUser));

export const options = {
  scenarios: {
    ramp: {
      executor: 'per-vu-iterations',
      vus: users,
      iterations: 1,
      maxDuration: `${Math.ceil((rampMs + holdMs) / 1000) + 120}s`,
    },
  },
  thresholds: thresholds({
    connected: connections,
    snapshotP95Ms: number('SNAPSHOT_P95_MS', 5000),
    updateGapP99Ms: number('UPDATE_GAP_P99_MS', 1000 / maxRate + 5000),
  }),
  summaryTrendStats,
};

export const handleSummary = report('ramp');

export default function () {
  // The last user takes what is left over.
  const first = (__VU - 1) * perUser;
  const mine = Math.min(perUser, connections - first);
  for (let i = 0; i < mine; i++) {
    const symbol = symbols[(first + i) % symbols.length];
    // Users take turns, so that the whole rises evenly.
    const startMs = (rampMs * (i * users + __VU)) / (perUser * users);
    setTimeout(() => {
      const client = connect({ op: 'sub', topics: [`kline:1m:${symbol}`], max_rate: maxRate });
      setTimeout(() => client.close(), rampMs + holdMs - startMs);
    }, startMs);
  }
}
