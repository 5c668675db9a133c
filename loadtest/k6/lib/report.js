// The summary of a run as Markdown, on stdout and in a file, and as JSON beside it.
import { settings } from './settings.js';

// Rows in reading order; k6's own metrics follow.
const OURS = /^klinecast_|^checks$/;
const SHOWN = /^(ws_|vus_max$|data_)/;

function value(number, contains) {
  if (number === undefined || number === null) {
    return '–';
  }
  const text = Number.isInteger(number) ? String(number) : number.toPrecision(4);
  return contains === 'time' ? `${text} ms` : text;
}

function measured({ type, contains, values }) {
  if (type === 'trend') {
    const time = (name) => value(values[name], contains);
    return values.count === 0
      ? 'none'
      : `${values.count}: p50 ${time('med')}, p95 ${time('p(95)')}, p99 ${time('p(99)')}, max ${time('max')}`;
  }
  if (type === 'rate') {
    return `${value(100 * values.rate)} % of ${values.passes + values.fails}`;
  }
  if (type === 'counter') {
    return `${value(values.count)} (${value(values.rate)} a second)`;
  }
  return value(values.value, contains);
}

function rows(metrics, pattern) {
  const lines = [];
  for (const name of Object.keys(metrics).sort().filter((name) => pattern.test(name))) {
    const metric = metrics[name];
    // A close code that did not occur is no row.
    if (name.includes('{') && metric.values.count === 0) {
      continue;
    }
    const limits = Object.entries(metric.thresholds || {})
      .map(([limit, { ok }]) => `${ok ? 'met' : '**missed**'}: \`${limit}\``);
    lines.push(`| ${name} | ${measured(metric)} | ${limits.join(', ')} |`);
  }
  return lines;
}

export function hasPassed(metrics) {
  return Object.values(metrics)
    .every((metric) => Object.values(metric.thresholds || {}).every(({ ok }) => ok));
}

// What a script exports as `handleSummary`. REPORTS names the folder, which has
// to be there.
export function report(name) {
  return (data) => {
    const seconds = value(data.state.testRunDurationMs / 1000);
    const asked = Object.entries(settings).map(([key, set]) => `${key}=${set}`).join(', ');
    const lines = [
      `# k6 ${name}: ${hasPassed(data.metrics) ? 'passed' : 'FAILED'}`,
      '',
      `${seconds} s; ${asked}`,
      '',
      '| what | measured | threshold |',
      '|---|---|---|',
      ...rows(data.metrics, OURS),
      ...rows(data.metrics, SHOWN),
      '',
    ];
    const markdown = lines.join('\n');
    const folder = __ENV.REPORTS || 'loadtest/reports';
    return {
      stdout: `\n${markdown}\n`,
      [`${folder}/k6-${name}.md`]: markdown,
      [`${folder}/k6-${name}.json`]: JSON.stringify(data, null, 1),
    };
  };
}
