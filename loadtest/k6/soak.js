// Does a system stay as it is? Clients come, stay a while and leave, for as long
// as wanted; scripts/load.sh shows what memory the programs had at the start
// and at the end.
//
//   k6 run --no-usage-report --address '' loadtest/k6/soak.js
//   environment: URL (ws://127.0.0.1:8080/ws), CONNECTIONS (1000),
//     SOAK_SECONDS (300), LIFE_SECONDS (60: half to one and a half of it),
//     SYMBOLS (BTC-USD,ETH-USD), MAX_RATE (frames a second to each client, 1),
//     SNAPSHOT_P95_MS (5000), UPDATE_GAP_P99_MS (a frame's interval and 5000)
import { setTimeout } from 'k6/timers';
import { connect } from './lib/client.js';
import { report } from './lib/report.js';
import { number, text } from './lib/settings.js';
import { summaryTrendStats, thresholds } from './lib/thresholds.js';

const connections = number('CONNECTIONS', 1000);
const soakMs = 1000 * number('SOAK_SECONDS', 300);
const lifeMs = 1000 * number('LIFE_SECONDS', 60);
const symbols = text('SYMBOLS', 'BTC-USD,ETH-USD').split(',');
const maxRate = number('MAX_RATE', 1);
const perUser = 100;
const users = Math.max(1, Math.ceil(connections / perUser));
// The first lives begin spread over a tenth of the time, at most 10 s.
const rampMs = Math.min(10000, soakMs / 10);

export const options = {
  scenarios: {
    soak: {
      executor: 'per-vu-iterations',
      vus: users,
      iterations: 1,
      maxDuration: `${Math.ceil(soakMs / 1000) + 120}s`,
    },
  },
  thresholds: {
    ...thresholds({
      connected: connections,
      snapshotP95Ms: number('SNAPSHOT_P95_MS', 5000),
      updateGapP99Ms: number('UPDATE_GAP_P99_MS', 1000 / maxRate + 5000),
    }),
    // Clients come again and again: so many at least.
    klinecast_connected: [`count>=${connections}`],
  },
  summaryTrendStats,
};

export const handleSummary = report('soak');

export default function () {
  const first = (__VU - 1) * perUser;
  const mine = Math.min(perUser, connections - first);
  const endAt = Date.now() + soakMs;
  for (let i = 0; i < mine; i++) {
    const symbol = symbols[(first + i) % symbols.length];
    const live = () => {
      const leftMs = endAt - Date.now();
      const client = connect({ op: 'sub', topics: [`kline:1m:${symbol}`], max_rate: maxRate });
      const stayMs = lifeMs * (0.5 + Math.random());
      // Who would come for a moment only stays to the end.
      const isLast = stayMs + 5000 > leftMs;
      setTimeout(() => {
        client.close();
        if (!isLast) {
          live();
        }
      }, isLast ? leftMs : stayMs);
    };
    setTimeout(live, rampMs * Math.random());
  }
}
