// Do slow clients harm anyone? Beside normal clients there are some that handle
// each frame slowly, some that stop reading for a few seconds at a time, and some
// that stop for good. The first two are served all they can take and stay; those
// that are stuck are closed with 4000 (slow consumer); nobody else notices.
//
//   k6 run --no-usage-report --address '' loadtest/k6/slow.js
//   environment: URL (ws://127.0.0.1:8080/ws), RUN_SECONDS (60), SYMBOL (BTC-USD),
//     NORMAL (1000), MAX_RATE (frames a second to a normal client, 1),
//     SLOW (20), SLOW_MS (200 for each frame),
//     PAUSING (20), PAUSE_SECONDS (5, then as long awake; under the gateways'
//     write deadline of 10),
//     STUCK (5), STUCK_URL (URL; a gateway's own, as a proxy has buffers and
//     deadlines of its own), SNAPSHOT_P95_MS (5000),
//     UPDATE_GAP_P99_MS (of normal clients: a frame's interval and 5000)
import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { setTimeout } from 'k6/timers';
import { ws } from './lib/blocking.js';
import { connect, url } from './lib/client.js';
import { report } from './lib/report.js';
import { number, text } from './lib/settings.js';
import { summaryTrendStats, thresholds } from './lib/thresholds.js';

const runSeconds = number('RUN_SECONDS', 60);
const symbol = text('SYMBOL', 'BTC-USD');
const normal = number('NORMAL', 1000);
const maxRate = number('MAX_RATE', 1);
const slow = number('SLOW', 20);
const slowMs = number('SLOW_MS', 200);
const pausing = number('PAUSING', 20);
const pauseSeconds = number('PAUSE_SECONDS', 5);
const stuck = number('STUCK', 5);
const stuckUrl = text('STUCK_URL', url);
const perUser = 100;
// All that there is, so that a full buffer does not take long.
const everything = { op: 'sub', topics: ['kline:>', 'system:>'] };

// Frames that slow and pausing clients have handled.
const slowFrames = new Counter('klinecast_slow_frames');
// Slow and pausing clients that did not stay, by close code.
const slowLost = new Counter('klinecast_slow_lost');
// Clients that were stuck, by how their connection ended.
const evicted = new Counter('klinecast_stuck_evicted');
const notEvicted = new Counter('klinecast_stuck_not_evicted');

function scenario(name, clients, perVu) {
  return {
    executor: 'per-vu-iterations',
    exec: name,
    vus: Math.ceil(clients / perVu),
    iterations: 1,
    maxDuration: `${runSeconds + 120}s`,
  };
}

const scenarios = {};
for (const [name, clients, perVu] of [['usual', normal, perUser], ['sluggish', slow, 1],
  ['dozing', pausing, 1], ['asleep', stuck, 1]]) {
  if (clients > 0) {
    scenarios[name] = scenario(name, clients, perVu);
  }
}

export const options = {
  scenarios,
  thresholds: {
    ...thresholds({
      connected: normal,
      snapshotP95Ms: number('SNAPSHOT_P95_MS', 5000),
      updateGapP99Ms: number('UPDATE_GAP_P99_MS', 1000 / maxRate + 5000),
    }),
    klinecast_slow_frames: [`count>=${slow + pausing}`],
    klinecast_slow_lost: ['count==0'],
    klinecast_stuck_evicted: [`count==${stuck}`],
    klinecast_stuck_not_evicted: ['count==0'],
  },
  summaryTrendStats,
};

export const handleSummary = report('slow');

export function usual() {
  const begun = exec.scenario.iterationInTest * perUser;
  const mine = Math.min(perUser, normal - begun);
  for (let i = 0; i < mine; i++) {
    const startMs = 5000 * Math.random();
    setTimeout(() => {
      const client = connect({ op: 'sub', topics: [`kline:1m:${symbol}`], max_rate: maxRate });
      setTimeout(() => client.close(), 1000 * runSeconds - startMs);
    }, startMs);
  }
}

// Holds a socket whose `onFrame(state)` may sleep, for `seconds`. Returns the code
// with which the server closed it, undefined if it did not.
function hold(target, seconds, onFrame) {
  const endAt = Date.now() + 1000 * seconds;
  let isOver = false;
  let code;
  const close = (socket) => {
    isOver = true;
    socket.close(1000);
  };
  const answer = ws.connect(target, {}, (socket) => {
    socket.on('open', () => {
      socket.send(JSON.stringify(everything));
      socket.setTimeout(() => close(socket), 1000 * seconds);
    });
    socket.on('message', () => {
      if (isOver) {
        return;
      }
      onFrame();
      // Timers wait behind the frames, of which there may be many.
      if (Date.now() > endAt) {
        close(socket);
      }
    });
    socket.on('close', (got) => {
      if (!isOver) {
        code = got;
      }
    });
    socket.on('error', () => {
      if (!isOver) {
        code = code || 1006;
      }
    });
  });
  return answer.status === 101 ? code : 0;
}

function stay(onFrame) {
  const code = hold(url, runSeconds, onFrame);
  if (code !== undefined) {
    slowLost.add(1, { code: String(code) });
    console.warn(`a slow client was closed: ${code}`);
  }
}

export function sluggish() {
  stay(() => {
    slowFrames.add(1);
    sleep(slowMs / 1000);
  });
}

export function dozing() {
  let awakeUntil = Date.now() + 1000 * pauseSeconds;
  stay(() => {
    slowFrames.add(1);
    if (Date.now() > awakeUntil) {
      sleep(pauseSeconds);
      awakeUntil = Date.now() + 1000 * pauseSeconds;
    }
  });
}

export function asleep() {
  let hasSlept = false;
  // Some seconds more, to find out when it wakes up what has become of it.
  const code = hold(stuckUrl, runSeconds + 10, () => {
    if (!hasSlept) {
      hasSlept = true;
      sleep(runSeconds);
    }
  });
  // Where the buffers were too full for the close frame the connection just ends:
  // 1006, or the 1001 with which k6 itself closes after a failed read.
  const isEvicted = [4000, 1006, 1001].includes(code);
  (isEvicted ? evicted : notEvicted).add(1, { code: String(code) });
}
