/** The place in a topic's past where a client stopped, as text: `k1.<end_ms>.<known_ms>`. Pure. */
import type { Bar } from "./messages.js";

export interface ResumePlace {
  /** The greatest end of the closed bars that the client has. */
  readonly endMs: number;
  /** The greatest time at which one of them became known. */
  readonly knownMs: number;
}

const TOKEN = /^k1\.(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,15})$/;

/** The place that `token` names; null if it is none of this version. */
export function parseToken(token: string): ResumePlace | null {
  const parts = TOKEN.exec(token);
  if (parts === null) return null;
  const place = { endMs: Number(parts[1]), knownMs: Number(parts[2]) };
  return Number.isSafeInteger(place.endMs) && Number.isSafeInteger(place.knownMs) ? place : null;
}

export function tokenText({ endMs, knownMs }: ResumePlace): string {
  return `k1.${endMs}.${knownMs}`;
}

/** The place after `bar`; null if it cannot be known. Only closed live bars move a place on. */
export function placeAfter(place: ResumePlace | null, bar: Bar): ResumePlace | null {
  const knownMs = Math.floor(bar.published_us / 1_000);
  if (bar.state !== "closed" || !Number.isSafeInteger(knownMs) || knownMs < 0 || bar.end_ms < 0) return place;
  if (place === null) return { endMs: bar.end_ms, knownMs };
  return { endMs: Math.max(place.endMs, bar.end_ms), knownMs: Math.max(place.knownMs, knownMs) };
}

/** The earlier of two places in every respect: what came after either comes after it. */
export function earlierPlace(a: ResumePlace, b: ResumePlace): ResumePlace {
  return { endMs: Math.min(a.endMs, b.endMs), knownMs: Math.min(a.knownMs, b.knownMs) };
}
