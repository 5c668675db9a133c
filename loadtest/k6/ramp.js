// How many clients does a system take? Ramps up, holds, and closes; no
// handshake may fail and no connection may be cut.
//
//   k6 run --no-usage-report --address '' loadtest/k6/ramp.js     (make load)
//   environment: URL (ws://127.0.0.1:8080/ws), CONNECTIONS (10000),
//     RAMP_SECONDS (20), HOLD_SECONDS (30), SYMBOLS (BTC-USD,...),
//     MAX_RATE (frames a second to each client, 0.2), SNAPSHOT_P95_MS (5000)
import { setTimeout } from 'k6/timers';
import { connect } from './lib/client.js';

const connections = Number(__ENV.CONNECTIONS || 10000);
const rampMs = 1000 * Number(__ENV.RAMP_SECONDS || 20);
const holdMs = 1000 * Number(__ENV.HOLD_SECONDS || 30);
const symbols = (__ENV.SYMBOLS || 'BTC-USD,ETH-USD').split(',');
const maxRate = Number(__ENV.MAX_RATE || 0.2);
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
  thresholds: {
    klinecast_handshake_ok: ['rate==1'],
    // A rate without samples passes; this does not.
    klinecast_connected: [`count==${connections}`],
    klinecast_handshake_failures: ['count==0'],
    klinecast_snapshot_ok: ['rate==1'],
    klinecast_first_snapshot: [`p(95)<${Number(__ENV.SNAPSHOT_P95_MS || 5000)}`],
    klinecast_unexpected_closes: ['count==0'],
  },
};

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
