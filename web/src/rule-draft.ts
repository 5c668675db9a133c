/** What a person fills in to make a rule, as the rule that the server takes. Pure; docs/alerts.md is the reference. */

export const RULE_TYPES = ["move", "cross", "volume", "spread", "gap", "stale"] as const;
export type RuleType = (typeof RULE_TYPES)[number];

/** A field of the form: what it means, and its value at first. */
export interface RuleField {
  readonly name: string;
  readonly label: string;
  readonly value: string;
  /** Whether the rule has it as a number; decimals are texts. */
  readonly isNumber: boolean;
}

export const RULE_FIELDS: Readonly<Record<RuleType, readonly RuleField[]>> = {
  move: [
    { name: "percent", label: "Percent", value: "5", isNumber: false },
    { name: "window_s", label: "Within seconds", value: "300", isNumber: true },
  ],
  cross: [{ name: "price", label: "Price", value: "", isNumber: false }],
  volume: [
    { name: "times", label: "Times the usual volume", value: "5", isNumber: false },
    { name: "window_s", label: "Within seconds", value: "60", isNumber: true },
    { name: "base_s", label: "Usual: the seconds before", value: "900", isNumber: true },
  ],
  spread: [
    { name: "points", label: "Basis points (0.01%)", value: "20", isNumber: false },
    { name: "for_s", label: "For seconds", value: "10", isNumber: true },
  ],
  gap: [],
  stale: [{ name: "after_s", label: "No trade for seconds", value: "30", isNumber: true }],
};

export const RULE_WORDS: Readonly<Record<RuleType, string>> = {
  move: "Price moves by percent",
  cross: "Price crosses a level",
  volume: "Unusual volume",
  spread: "Wide spread",
  gap: "Trades are missing",
  stale: "No trades",
};

export interface RuleDraft {
  readonly type: RuleType;
  readonly symbol: string;
  readonly level: string;
  readonly values: Readonly<Record<string, string>>;
}

/** The rule of `draft`, with a name that none of `names` is; or what is to be corrected. */
export function ruleOf(draft: RuleDraft, names: readonly string[]): { readonly rule: Record<string, unknown> } | { readonly fault: string } {
  const symbol = draft.symbol.trim().toUpperCase();
  if (symbol === "") return { fault: "Write a symbol, or * for all." };
  const when: Record<string, unknown> = { type: draft.type };
  for (const { name, label, isNumber } of RULE_FIELDS[draft.type]) {
    // People write thousands with commas.
    const text = (draft.values[name] ?? "").replaceAll(",", "").trim();
    const isRight = isNumber ? /^[1-9]\d{0,8}$/.test(text) : /^\d{1,18}(\.\d{1,18})?$/.test(text) && Number(text) > 0;
    if (!isRight) return { fault: `${label}: write a${isNumber ? " whole" : ""} number above 0.` };
    when[name] = isNumber ? Number(text) : text;
  }
  return { rule: { name: freeName(draft.type, symbol, names), symbols: [symbol], level: draft.level, when } };
}

/** `btc-usd-move`, or `btc-usd-move-2` if there is one. Names have at most 32 small letters, digits and hyphens. */
export function freeName(type: RuleType, symbol: string, names: readonly string[]): string {
  const stem = symbol === "*" ? "all" : symbol.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").replaceAll(/^-+|-+$/g, "");
  for (let number = 1; ; number += 1) {
    const end = number === 1 ? `-${type}` : `-${type}-${number}`;
    const name = `${stem.slice(0, 32 - end.length).replace(/-+$/, "")}${end}`.replace(/^-+/, "");
    if (!names.includes(name)) return name;
  }
}
