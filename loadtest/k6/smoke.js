// Does a running system answer as its protocol says? A few dozen clients,
// each of which goes through every operation once.
//
//   k6 run --no-usage-report --address '' loadtest/k6/smoke.js
//   environment: URL (ws://127.0.0.1:8080/ws), CLIENTS (50), SYMBOL (BTC-USD)
import { check } from 'k6';
import { setTimeout } from 'k6/timers';
import { connect, messages } from './lib/client.js';
import { report } from './lib/report.js';
import { number, text } from './lib/settings.js';
import { summaryTrendStats, thresholds } from './lib/thresholds.js';

const clients = number('CLIENTS', 50);
const symbol = text('SYMBOL', 'BTC-USD');
const perUser = 5;
const users = Math.max(1, Math.ceil(clients / perUser));

export const options = {
  scenarios: {
    smoke: { executor: 'per-vu-iterations', vus: users, iterations: 1, maxDuration: '60s' },
  },
  thresholds: {
    ...thresholds({ connected: users * perUser, snapshotP95Ms: 2000 }),
    checks: ['rate==1'],
  },
  summaryTrendStats,
};

export const handleSummary = report('smoke');

export default function () {
  for (let i = 0; i < perUser; i++) {
    converse();
  }
}
function converse() {
  const seen = [];
  const topic = `kline:1m:${symbol}`;
  const client = connect({ op: 'sub', id: 1, topics: [topic] }, (_, frame) => {
    for (const message of messages(frame)) {
      seen.push(message);
    }
  });
  setTimeout(() => client.send({ op: 'ping' }), 500);
  setTimeout(() => client.send({ op: 'list', id: 2 }), 600);
  setTimeout(() => client.send({ op: 'sub', id: 3, topics: ['not a topic'] }), 700);
  setTimeout(() => client.send({ op: 'unsub', id: 4, topics: [topic] }), 1500);
  setTimeout(() => {
    const reply = (op, id) => seen.findIndex((m) => m.op === op && (id === undefined || m.id === id));
    const isBar = (m) => m.topic === topic;
    const ack = reply('ack', 1);
    const bar = seen.find(isBar);
    check(null, {
      'subscribe is acknowledged': () => ack >= 0,
      'the snapshot follows the ack': () => ack >= 0 && seen.findIndex(isBar) === ack + 1,
      'a bar has decimal strings': () => bar !== undefined
        && ['open', 'high', 'low', 'close', 'volume'].every((name) => typeof bar[name] === 'string'),
      'a bar has an epoch and a sequence': () => bar !== undefined && bar.epoch > 0 && bar.seq > 0,
      'high is not below low': () => bar !== undefined && Number(bar.high) >= Number(bar.low),
      'ping is answered': () => reply('pong') >= 0,
      'a malformed topic gives an error': () => reply('error', 3) >= 0,
      'list is answered': () => seen.some((m) => m.id === 2),
      'unsubscribe is acknowledged': () => reply('ack', 4) >= 0,
      'no bar after the unsubscribe': () => reply('ack', 4) >= 0
        && !seen.slice(reply('ack', 4)).some(isBar),
    });
    client.close();
  }, 3000);
}
