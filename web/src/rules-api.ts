/** Rules and alerts over HTTP, on the page's own server: `/api/v1/rules` and `/api/v1/alerts`. */
import { type Alert, alertFrom } from "./alert-text.js";

const TIMEOUT_MS = 10_000;
const ALERTS_MAX = 100;
/** An answer with all rules has less. */
const ANSWER_CHARS_MAX = 4 << 20;

export interface KnownRule {
  readonly name: string;
  readonly symbols: readonly string[];
  readonly type: string;
  /** Whether it can be removed here: a rule of the file cannot. */
  readonly isOwn: boolean;
}

/** `absent`: no program answers for alerts; `access`: a token is needed. */
export type RulesFault = { readonly kind: "absent" | "access" | "refused" | "unreachable"; readonly message: string };

export class RulesError extends Error {
  readonly fault: RulesFault;

  constructor(fault: RulesFault) {
    super(fault.message);
    this.name = "RulesError";
    this.fault = fault;
  }
}

const ABSENT: RulesFault = { kind: "absent", message: "Rules cannot be made here: the program “alerts” does not answer on this server. Its operator can start it: see docs/alerts.md." };

export class RulesApi {
  readonly #fetch: typeof globalThis.fetch;
  /** Null: none was given, or the server refused it. */
  token: string | null = null;

  constructor(fetch: typeof globalThis.fetch) {
    this.#fetch = fetch;
  }

  async rules(): Promise<KnownRule[]> {
    const { rules } = await this.#ask("GET", "/api/v1/rules");
    if (!Array.isArray(rules)) throw new RulesError(ABSENT);
    return rules.map(knownRule).filter((rule) => rule !== null);
  }

  async alerts(): Promise<Alert[]> {
    const { alerts } = await this.#ask("GET", `/api/v1/alerts?limit=${ALERTS_MAX}`);
    return Array.isArray(alerts) ? alerts.map(alertFrom).filter((alert) => alert !== null) : [];
  }

  async add(rule: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#ask("POST", "/api/v1/rules", rule);
  }

  async remove(name: string): Promise<void> {
    await this.#ask("DELETE", `/api/v1/rules/${encodeURIComponent(name)}`);
  }

  /** The object that the server answers. Throws a RulesError. */
  async #ask(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    let response: Response;
    let text: string;
    try {
      response = await this.#fetch(path, {
        method,
        headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(this.token === null ? {} : { Authorization: `Bearer ${this.token}` }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      text = await response.text();
    } catch {
      throw new RulesError({ kind: "unreachable", message: "The server does not answer. Try again." });
    }
    const answer = text.length > ANSWER_CHARS_MAX ? null : objectIn(text);
    if (response.ok && answer !== null) return answer;
    const { code, message } = errorIn(answer);
    if (response.status === 401) {
      const message = this.token === null ? "Rules need a token. The operator of this server gives it out." : "The server did not take this token. Check it, and give it again.";
      this.token = null;
      throw new RulesError({ kind: "access", message });
    }
    // Another program may answer in its place: history, klinecast or a proxy.
    if (code === null || response.ok || (response.status === 404 && code !== "unknown_rule")) throw new RulesError(ABSENT);
    throw new RulesError({ kind: "refused", message });
  }
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

function errorIn(answer: Record<string, unknown> | null): { code: string | null; message: string } {
  const error = answer?.["error"];
  const { code, message } = (typeof error === "object" && error !== null ? error : {}) as { code?: unknown; message?: unknown };
  return { code: typeof code === "string" ? code : null, message: typeof message === "string" ? message : "The server refused it." };
}

function knownRule(value: unknown): KnownRule | null {
  const { rule, source } = (typeof value === "object" && value !== null ? value : {}) as { rule?: unknown; source?: unknown };
  const { name, symbols, when } = (typeof rule === "object" && rule !== null ? rule : {}) as { name?: unknown; symbols?: unknown; when?: { type?: unknown } };
  if (typeof name !== "string" || !Array.isArray(symbols)) return null;
  return { name, symbols: symbols.filter((symbol): symbol is string => typeof symbol === "string"), type: String(when?.type ?? ""), isOwn: source === "http" };
}
