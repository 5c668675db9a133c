/** Times as text, in UTC or in the reader's own time zone. Pure but for that zone. */

export type Zone = "utc" | "local";

/** How exact a time is shown. */
export type TimePart = "date" | "minute" | "second";

/** Milliseconds that the zone is ahead of UTC then. */
export function zoneOffsetMs(zone: Zone, unixMs: number): number {
  return zone === "utc" ? 0 : -new Date(unixMs).getTimezoneOffset() * 60_000;
}

/** `2026-11-21`, `2026-11-21 14:40` or `2026-11-21 14:40:49`. */
export function timeText(unixMs: number, zone: Zone, part: TimePart): string {
  const iso = new Date(unixMs + zoneOffsetMs(zone, unixMs)).toISOString();
  if (part === "date") return iso.slice(0, 10);
  return `${iso.slice(0, 10)} ${iso.slice(11, part === "second" ? 19 : 16)}`;
}

/** What of a bar's start is worth showing. Days are days of UTC, whatever the reader's zone. */
export function barTimeText(startMs: number, endMs: number, zone: Zone): string {
  const lengthMs = endMs - startMs;
  if (lengthMs >= 86_400_000) return timeText(startMs, "utc", "date");
  return timeText(startMs, zone, lengthMs < 60_000 ? "second" : "minute");
}

/** `UTC`, `UTC+1`, `UTC−3:30`. */
export function zoneName(zone: Zone, unixMs: number): string {
  const minutes = Math.round(zoneOffsetMs(zone, unixMs) / 60_000);
  if (minutes === 0) return "UTC";
  const whole = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? "−" : "+"}${whole}${rest === 0 ? "" : `:${String(rest).padStart(2, "0")}`}`;
}
