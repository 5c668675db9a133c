/** What axe-core says of each panel in each look, and a way through the page without a mouse. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { FakeRules } from "./fake-rules.mjs";
import { onPage } from "./live-page.mjs";
import { launchBrowser, waitFor } from "./page.mjs";

const LIMIT = { timeout: 240_000 };
const SCREENS = {
  desktop: { viewport: { width: 1440, height: 860 } },
  narrow: { viewport: { width: 1100, height: 760 } },
  phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};
const RULES = [{ name: "btc-5", symbols: ["BTC-USD"], when: { type: "move", percent: "5", window_s: 300 } }];
let browser;

before(async () => {
  browser = await launchBrowser();
});
after(async () => {
  await browser.close();
});

/** What is wrong, one line for each element. */
async function faultsOf(page) {
  const violations = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ["violations"] })).violations);
  return violations.flatMap(({ id, impact, nodes }) => nodes.map(({ html, failureSummary }) => `${id} (${impact}): ${html.slice(0, 160)} ${failureSummary.split("\n").slice(1).join(" ")}`));
}

function says({ selector, pattern }) {
  const element = document.querySelector(selector);
  return element !== null && element.checkVisibility() && new RegExp(pattern, "s").test(element.textContent);
}

function anAlert() {
  const nowMs = Date.now();
  return { topic: "alert:btc-5:BTC-USD", seq: 1, epoch: 7, exchange: "coinbase", symbol: "BTC-USD", rule: "btc-5", type: "move", level: "critical", direction: "up", start_ms: nowMs - 1_000, end_ms: nowMs, value: "66000", reference: "60000", raised_ms: nowMs };
}

for (const [screen, context] of Object.entries(SCREENS)) {
  test(`axe-core finds nothing on any panel, light and dark: ${screen}`, LIMIT, async () => {
    await onPage(
      browser,
      { historyBars: 60, qualityMix: true, mode: "sim", rules: new FakeRules({ rules: RULES }), dayQuality: "partial", feedStates: { okx: "stale" } },
      async ({ gateway, page }) => {
        await page.evaluate(axe.source);
        gateway.publishValue(anAlert());
        const shown = { tickers: ["#tickers tbody tr", "\\d\\.\\d+%"], book: ["#book-bids .book-row", "\\d{3}"], tape: ["#tape tbody tr", "\\d{3}"], alerts: ["#alert-list li", "critical"], markets: ["#prices tbody tr", "\\d"] };
        for (const [tab, [selector, pattern]] of Object.entries(shown)) {
          // On a wide screen, book and trades are no tabs.
          if (await page.locator(`#tab-${tab}`).isVisible()) await page.locator(`#tab-${tab}`).click();
          await waitFor(page, tab, says, { selector, pattern });
          if (tab === "alerts") {
            await page.locator("#rule-summary").click();
            await waitFor(page, "the rules", says, { selector: "#rule-list li", pattern: "btc-5" });
          }
          for (const colorScheme of ["dark", "light"]) {
            await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
            assert.deepEqual(await faultsOf(page), [], `${tab}, ${colorScheme}, ${screen}`);
          }
        }
        gateway.feedState = "stale";
        await waitFor(page, "prices that are not live", () => document.body.dataset.state === "stale");
        for (const colorScheme of ["dark", "light"]) {
          await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
          assert.deepEqual(await faultsOf(page), [], `stale, ${colorScheme}, ${screen}`);
        }
      },
      { context: { ...context, reducedMotion: "reduce" } },
    );
  });
}

test("axe-core finds nothing on a page that asks for tokens", LIMIT, async () => {
  await onPage(
    browser,
    { token: "a-token", rules: new FakeRules({ token: "another" }) },
    async ({ page, faults }) => {
      await page.evaluate(axe.source);
      await waitFor(page, "the question for a token", () => document.querySelector("#access").checkVisibility());
      await page.locator("#tab-alerts").click();
      await waitFor(page, "the question for the token of rules", () => document.querySelector("#rules-access").checkVisibility());
      for (const colorScheme of ["dark", "light"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        assert.deepEqual(await faultsOf(page), [], colorScheme);
      }
      faults.length = 0;
    },
    { isExpectedLive: false, context: { reducedMotion: "reduce" } },
  );
});
