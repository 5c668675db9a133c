// Settings from the environment (`-e NAME=value`). What a script asked for, and
// what it got, is shown in its report.
export const settings = {};

export function text(name, fallback) {
  settings[name] = __ENV[name] || fallback;
  return settings[name];
}

export function number(name, fallback) {
  const value = Number(text(name, String(fallback)));
  if (!Number.isFinite(value) || value < 0) {
    throw new Error(`${name} has to be a number of at least 0`);
  }
  return value;
}
