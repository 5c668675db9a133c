// What fails a run. One table, so that every script means the same by it.

// Close codes of docs/protocol.md, and those that a broken connection has.
const CODES = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1009, 1011, 1012, 1013,
  4000, 4001, 4002, 4003, 4004, 4005, 4006];

// `connected`: handshakes that have to succeed, no more and no less.
export function thresholds({ connected, snapshotP95Ms, updateGapP99Ms }) {
  const all = {
    klinecast_handshake_ok: ['rate==1'],
    // A rate without samples passes; this does not.
    klinecast_connected: [`count==${connected}`],
    klinecast_handshake_failures: ['count==0'],
    klinecast_snapshot_ok: ['rate==1'],
    klinecast_first_snapshot: [`p(95)<${snapshotP95Ms}`],
    klinecast_unexpected_closes: ['count==0'],
  };
  if (updateGapP99Ms !== undefined) {
    all.klinecast_update_gap = [`p(99)<${updateGapP99Ms}`];
  }
  // k6 reports a tag's values only where a threshold asks for them.
  for (const code of CODES) {
    all[`klinecast_unexpected_closes{code:${code}}`] = ['count==0'];
  }
  return all;
}

export const summaryTrendStats = ['count', 'med', 'p(95)', 'p(99)', 'max'];
