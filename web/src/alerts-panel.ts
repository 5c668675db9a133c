/** Alerts that fired, and the rules that fire them: a list, and a form to make a rule. */
import type { KlinecastClient } from "klinecast";
import { type Alert, alertFrom, AlertLog, alertText } from "./alert-text.js";
import { part, setText } from "./page-part.js";
import { watchSight } from "./panel-sight.js";
import { RULE_FIELDS, RULE_TYPES, RULE_WORDS, ruleOf, type RuleType } from "./rule-draft.js";
import { type KnownRule, RulesApi, RulesError, type RulesFault } from "./rules-api.js";
import { timeText, type Zone } from "./time-text.js";

const ALERTS_MAX = 100;
const RULES_SHOWN_MAX = 200;
/** What is said aloud is said at most this often: a reader of screens would never end. */
const SAY_INTERVAL_MS = 5_000;
/** An alert that is older than this when it comes is no news. */
const NEWS_MS = 60_000;
const TOPICS = ["alert:>"];

export class AlertsPanel {
  readonly #zoneOf: () => Zone;
  readonly #nowMs: () => number;
  readonly #log = new AlertLog(ALERTS_MAX);
  readonly #api: RulesApi | null;
  #rules: readonly KnownRule[] = [];
  #symbol = "";
  #isInSight = false;
  #isDirty = false;
  #isAsked = false;
  #unseenCount = 0;
  #unsaid: Alert[] = [];
  #sayTimer: number | undefined;

  /** `isOwnServer` is false where the page may not ask its own server about another gateway's alerts. */
  constructor(client: Pick<KlinecastClient, "sub">, isOwnServer: boolean, zoneOf: () => Zone, nowMs: () => number, onDirty: () => void) {
    this.#zoneOf = zoneOf;
    this.#nowMs = nowMs;
    this.#api = isOwnServer ? new RulesApi((path, init) => window.fetch(path, init)) : null;
    client.sub(TOPICS);
    watchSight(part("alerts-panel"), (isInSight) => {
      this.#isInSight = isInSight;
      if (isInSight) {
        this.#unseenCount = 0;
        if (!this.#isAsked) void this.#load();
      }
      this.#isDirty = true;
      onDirty();
    });
    this.#prepareForm();
  }

  choose(symbol: string): void {
    const input = part<HTMLInputElement>("rule-symbol");
    // What a person wrote stays.
    if (input.value === "" || input.value === this.#symbol) input.value = symbol;
    this.#symbol = symbol;
  }

  take(value: unknown): void {
    const alert = alertFrom(value);
    if (alert === null || !this.#log.add(alert)) return;
    this.#isDirty = true;
    if (this.#nowMs() - alert.end_ms > NEWS_MS) return;
    // The observer notices with the next frame only that another tab was chosen.
    if (!this.#isInSight || part("alerts-panel").hidden) this.#unseenCount += 1;
    this.#unsaid.push(alert);
    if (this.#unsaid.length > ALERTS_MAX) this.#unsaid.shift();
    this.#sayTimer ??= window.setTimeout(() => this.#say(), 0);
  }

  zoneChanged(): void {
    this.#isDirty = true;
  }

  flush(): void {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    const count = part("alerts-count");
    count.hidden = this.#unseenCount === 0;
    setText(count, this.#unseenCount > 99 ? "99+" : String(this.#unseenCount));
    if (!this.#isInSight) {
      this.#isDirty = true;
      return;
    }
    const list = part("alert-list");
    const alerts = this.#log.all;
    while (list.children.length > alerts.length) list.lastElementChild?.remove();
    for (const [index, alert] of alerts.entries()) {
      const item = (list.children[index] as HTMLElement | undefined) ?? newItem(list);
      const [level, text, time] = item.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
      if (item.dataset["level"] !== alert.level) item.dataset["level"] = alert.level;
      setText(level, alert.level);
      setText(text, alertText(alert));
      setText(time, `${timeText(alert.end_ms, this.#zoneOf(), "second")} · ${alert.rule}`);
    }
    part("alerts-empty").hidden = alerts.length > 0;
  }

  /** One sentence for all that came since the last one. */
  #say(): void {
    const [first, ...others] = this.#unsaid.reverse();
    this.#unsaid = [];
    this.#sayTimer = first === undefined ? undefined : window.setTimeout(() => this.#say(), SAY_INTERVAL_MS);
    if (first === undefined) return;
    setText(part("alert-said"), `Alert, ${first.level}: ${alertText(first)}${others.length === 0 ? "" : `, and ${others.length} more`}`);
  }

  async #load(): Promise<void> {
    this.#isAsked = true;
    const api = this.#api;
    if (api === null) {
      this.#showFault({ kind: "absent", message: "Rules are made on the page of the gateway itself." });
      return;
    }
    await this.#try(async () => {
      this.#rules = await api.rules();
      for (const alert of await api.alerts()) this.take(alert);
    });
    this.#showRules();
  }

  /** Does `work`, and shows why it failed if it does. */
  async #try(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      this.#showFault(null);
      return true;
    } catch (error) {
      if (!(error instanceof RulesError)) throw error;
      this.#showFault(error.fault);
      // What passes is asked for again when the panel is opened again.
      if (error.fault.kind !== "refused") this.#isAsked = false;
      return false;
    }
  }

  #showFault(fault: RulesFault | null): void {
    const element = part("rules-fault");
    element.hidden = fault === null;
    setText(element, fault?.message ?? "");
    part("rules").hidden = fault !== null && fault.kind !== "refused";
    part("rules-access").hidden = fault?.kind !== "access";
  }

  #showRules(): void {
    const list = part("rule-list");
    list.replaceChildren(
      ...this.#rules.slice(0, RULES_SHOWN_MAX).map((rule) => {
        const item = document.createElement("li");
        const name = document.createElement("span");
        const known = RULE_TYPES.find((type) => type === rule.type);
        name.textContent = `${rule.name}: ${known === undefined ? rule.type : RULE_WORDS[known].toLowerCase()}, ${rule.symbols.slice(0, 3).join(" ")}${rule.symbols.length > 3 ? " …" : ""}`;
        item.append(name);
        if (rule.isOwn) {
          const button = document.createElement("button");
          button.type = "button";
          button.className = "link";
          button.textContent = "Remove";
          button.setAttribute("aria-label", `Remove the rule ${rule.name}`);
          button.addEventListener("click", () => void this.#remove(rule.name));
          item.append(button);
        }
        return item;
      }),
    );
  }

  async #remove(name: string): Promise<void> {
    const api = this.#api;
    if (api === null || !(await this.#try(() => api.remove(name)))) return;
    setText(part("rule-said"), `The rule ${name} is removed.`);
    await this.#load();
    part("rule-summary").focus();
  }

  #prepareForm(): void {
    const type = part<HTMLSelectElement>("rule-type");
    type.replaceChildren(...RULE_TYPES.map((each) => new Option(RULE_WORDS[each], each)));
    type.addEventListener("change", () => this.#showFields());
    this.#showFields();
    part<HTMLFormElement>("rule-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#add();
    });
    part<HTMLFormElement>("rules-access").addEventListener("submit", (event) => {
      event.preventDefault();
      const input = part<HTMLInputElement>("rules-token");
      if (this.#api === null || input.value.trim() === "") return;
      // Only in memory: it may change rules for everybody.
      this.#api.token = input.value.trim();
      input.value = "";
      void this.#load();
    });
  }

  #showFields(): void {
    part("rule-fields").replaceChildren(
      ...RULE_FIELDS[this.#type].map(({ name, label, value }) => {
        const element = document.createElement("label");
        const input = document.createElement("input");
        input.name = name;
        input.value = value;
        input.inputMode = "decimal";
        input.autocomplete = "off";
        input.maxLength = 40;
        input.required = true;
        element.append(label, input);
        return element;
      }),
    );
  }

  get #type(): RuleType {
    const { value } = part<HTMLSelectElement>("rule-type");
    return RULE_TYPES.find((each) => each === value) ?? "move";
  }

  async #add(): Promise<void> {
    const api = this.#api;
    if (api === null) return;
    const inputs = part("rule-fields").querySelectorAll("input");
    const draft = {
      type: this.#type,
      symbol: part<HTMLInputElement>("rule-symbol").value,
      level: part<HTMLSelectElement>("rule-level").value,
      values: Object.fromEntries([...inputs].map(({ name, value }) => [name, value])),
    };
    const made = ruleOf(draft, this.#rules.map(({ name }) => name));
    if ("fault" in made) {
      this.#showFault({ kind: "refused", message: made.fault });
      return;
    }
    if (!(await this.#try(() => api.add(made.rule)))) return;
    setText(part("rule-said"), `The rule ${String(made.rule["name"])} is set.`);
    await this.#load();
  }
}

function newItem(list: HTMLElement): HTMLElement {
  const item = document.createElement("li");
  for (const className of ["alert-level", "alert-text", "alert-time"]) {
    const span = document.createElement("span");
    span.className = className;
    item.append(span);
  }
  list.append(item);
  return item;
}
