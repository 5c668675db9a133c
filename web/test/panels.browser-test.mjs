/** The panels beside the chart: order book, trades, tickers, alerts; and the two themes. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FakeRules } from "./fake-rules.mjs";
import { onPage } from "./live-page.mjs";
import { hasDrawnBars, launchBrowser, waitFor } from "./page.mjs";

const LIMIT = { timeout: 240_000 };
const PHONE = { context: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } };
let browser;

before(async () => {
  browser = await launchBrowser();
});
after(async () => {
  await browser.close();
});

/** Whether the text of `selector` matches `pattern` and can be seen. */
function says({ selector, pattern }) {
  const element = document.querySelector(selector);
  return element !== null && element.checkVisibility() && new RegExp(pattern, "s").test(element.textContent);
}

/** Whether the book in sight is one around a price of `whole` and has its best prices beside the spread. */
function hasBook(whole) {
  const prices = (side) => [...document.querySelectorAll(`#book-${side} .book-row:not([hidden]) .book-price`)].map((each) => Number(each.textContent.replaceAll(",", "")));
  const [asks, bids] = [prices("asks"), prices("bids")];
  const all = [...asks, ...bids];
  if (!document.querySelector("#book-rows").checkVisibility() || asks.length < 3 || bids.length < 3) return false;
  return all.every((price, at) => (at === 0 || price < all[at - 1]) && Math.abs(price - whole) < whole / 2);
}

/** What the page is subscribed to now, of what it asked the gateway for. */
function subscribed(gateway) {
  const topics = new Set();
  for (const { op, topics: named = [] } of gateway.received) for (const topic of named) op === "sub" ? topics.add(topic) : op === "unsub" && topics.delete(topic);
  return [...topics].filter((topic) => /^(book|trade|ticker):/.test(topic)).sort();
}

/** Waits until the page is subscribed to these topics of books, trades and tickers. */
async function untilSubscribed(gateway, what, condition) {
  const deadlineMs = Date.now() + 90_000;
  while (!condition(subscribed(gateway))) {
    assert.ok(Date.now() < deadlineMs, `waited for ${what}: ${subscribed(gateway).join(" ")}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("book, trades and tickers are shown, and only what can be seen is subscribed", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page }) => {
    await waitFor(page, "the book", hasBook, 64_000);
    await waitFor(page, "trades", says, { selector: "#tape tbody tr:nth-child(3)", pattern: "(buy|sell) 6\\d,\\d{3}" });
    await untilSubscribed(gateway, "book and trades", (topics) => topics.join() === "book:BTC-USD,trade:BTC-USD");
    await page.locator("#tab-tickers").click();
    await waitFor(page, "tickers", () => {
      const rows = [...document.querySelectorAll("#tickers tbody tr")];
      return rows.length === 13 && rows.slice(0, 3).every((row) => /[+−]?\d+\.\d+%/.test(row.textContent) && row.querySelector("polyline").getAttribute("points")?.includes(" "));
    });
    await untilSubscribed(gateway, "tickers in sight", (topics) => topics.includes("ticker:ETH-USD"));
    await page.locator('#tickers tr[data-symbol="ETH-USD"]').click();
    await waitFor(page, "the other book", hasBook, 3_200);
    await waitFor(page, "the other chart", says, { selector: "#symbol", pattern: "^ETH-USD$" });
    await page.locator("#tab-markets").click();
    await untilSubscribed(gateway, "no ticker", (topics) => topics.join() === "book:ETH-USD,trade:ETH-USD");
    // A narrower window has tabs for both, and shows neither.
    await page.setViewportSize({ width: 1_200, height: 800 });
    await untilSubscribed(gateway, "nothing", (topics) => topics.length === 0);
    await page.locator("#tab-markets").focus();
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await waitFor(page, "the book's tab", () => document.activeElement.id === "tab-book" && document.activeElement.getAttribute("aria-selected") === "true");
    await waitFor(page, "the book", hasBook, 3_200);
    await untilSubscribed(gateway, "the book alone", (topics) => topics.join() === "book:ETH-USD");
  });
});

test("a book that is not right is not shown, and neither is one without a connection", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page, faults }) => {
    await waitFor(page, "the book", hasBook, 64_000);
    gateway.values.bookFaults["BTC-USD"] = "hole";
    await waitFor(page, "why", says, { selector: "#book-fault", pattern: "A change of the book was lost" });
    assert.ok(!(await page.locator("#book-rows").isVisible()));
    gateway.values.bookFaults = {};
    await waitFor(page, "the book again", hasBook, 64_000);
    gateway.cut();
    await waitFor(page, "why", says, { selector: "#book-fault", pattern: "No connection to the gateway" });
    assert.ok(!(await page.locator("#book-rows").isVisible()));
    gateway.mend();
    await waitFor(page, "the book after the cut", hasBook, 64_000);
    faults.splice(0, faults.length, ...faults.filter((fault) => !/WebSocket connection to|request failed: .*\/api\/v1\//.test(fault)));
  });
});

test("a book is kept from its changes, and comes whole again after changes that do not fit", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page, faults }) => {
    const until = async (what, condition) => {
      const deadlineMs = Date.now() + 90_000;
      while (!condition(gateway.booksSent)) {
        assert.ok(Date.now() < deadlineMs, `waited for ${what}: ${JSON.stringify(gateway.booksSent)}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await waitFor(page, "the book", hasBook, 64_000);
    const { whole, changes } = gateway.booksSent;
    await until("changes", (sent) => sent.changes >= changes + 10);
    assert.equal(gateway.booksSent.whole, whole, "no whole book is sent while changes fit");
    await waitFor(page, "the book of changes", hasBook, 64_000);
    gateway.bookChangesSent = (wrong) => {
      gateway.bookChangesSent = (right) => right;
      return { ...wrong, checksum: (wrong.checksum ^ 1) >>> 0 };
    };
    await until("a whole book", (sent) => sent.whole > whole);
    await waitFor(page, "the book again", hasBook, 64_000);
    faults.splice(0, faults.length, ...faults.filter((fault) => !/changes of book:BTC-USD do not fit|WebSocket connection to/.test(fault)));
  });
});

test("a refusal of several topics is said in the place of each", LIMIT, async () => {
  await onPage(
    browser,
    { hasMarket: false },
    async ({ gateway, page }) => {
      await untilSubscribed(gateway, "book and trades", (topics) => topics.length === 2);
      gateway.sendRaw(JSON.stringify({ op: "error", code: "forbidden", message: "your token says no", topics: ["trade:BTC-USD", "kline:1s:BTC-USD", "book:BTC-USD"] }));
      await waitFor(page, "the chart", says, { selector: "#collecting", pattern: "refused the 1s bars of BTC-USD.*your token says no" });
      await waitFor(page, "the book", says, { selector: "#book-fault", pattern: "refused the order book: your token says no" });
      await waitFor(page, "the trades", says, { selector: "#tape-fault", pattern: "refused the trades: your token says no" });
    },
    { isExpectedLive: false },
  );
});

test("a rule is made on the page, its alert comes, and one that nobody saw is counted", LIMIT, async () => {
  const alert = (seq, fields = {}) => {
    const nowMs = Date.now();
    return { topic: "alert:btc-usd-move:BTC-USD", seq, epoch: 7, exchange: "coinbase", symbol: "BTC-USD", rule: "btc-usd-move", type: "move", level: "critical", direction: "up", start_ms: nowMs - 1_000, end_ms: nowMs, value: "66000", reference: "60000", raised_ms: nowMs, ...fields };
  };
  const rules = new FakeRules({ token: "a-token-of-rules", rules: [{ name: "of-file", symbols: ["*"], when: { type: "gap" } }] });
  await onPage(browser, { rules }, async ({ gateway, page }) => {
    await page.locator("#tab-alerts").click();
    await waitFor(page, "the question for a token", says, { selector: "#rules-fault", pattern: "need a token" });
    await page.locator("#rules-token").fill("another-token-of-rules");
    await page.locator("#rules-access button").click();
    await waitFor(page, "the refusal of a wrong token", says, { selector: "#rules-fault", pattern: "did not take this token" });
    assert.equal(await page.locator("#rules").isVisible(), false);
    await page.locator("#rules-token").fill("a-token-of-rules");
    await page.keyboard.press("Enter");
    await page.locator("#rule-summary").click();
    await waitFor(page, "the rule of the file", says, { selector: "#rule-list", pattern: "of-file: trades are missing, \\*" });
    assert.equal(await page.locator("#rule-list button").count(), 0, "a rule of the file stays");
    assert.equal(await page.locator("#rule-symbol").inputValue(), "BTC-USD");
    await page.getByLabel("Percent", { exact: true }).fill("ten");
    await page.getByRole("button", { name: "Make the rule" }).click();
    await waitFor(page, "what to correct", says, { selector: "#rules-fault", pattern: "Percent: write a number" });
    await page.getByLabel("Percent", { exact: true }).fill("10");
    await page.keyboard.press("Enter");
    await waitFor(page, "the rule", says, { selector: "#rule-said", pattern: "btc-usd-move is set" });
    assert.deepEqual(rules.rules.get("btc-usd-move").rule, { name: "btc-usd-move", symbols: ["BTC-USD"], level: "warning", when: { type: "move", percent: "10", window_s: 300 } });
    gateway.publishValue(alert(1));
    await waitFor(page, "the alert", says, { selector: "#alert-list li", pattern: "critical.*BTC-USD rose 10.00%: from 60,000 to 66,000.*btc-usd-move" });
    await waitFor(page, "it is said aloud", () => /^Alert, critical: BTC-USD rose/.test(document.querySelector("#alert-said").textContent));
    await page.locator("#tab-markets").click();
    await waitFor(page, "the table", () => document.querySelector("#alerts-panel").hidden);
    gateway.publishValue(alert(2));
    gateway.publishValue(alert(3, { direction: "down", value: "54000" }));
    await waitFor(page, "two that nobody saw", says, { selector: "#alerts-count", pattern: "^2$" });
    await page.locator("#tab-alerts").click();
    await waitFor(page, "no count", () => document.querySelector("#alerts-count").hidden);
    await waitFor(page, "the newest first", says, { selector: "#alert-list li", pattern: "BTC-USD fell 10.00%" });
    assert.equal(await page.locator("#alert-list li").count(), 3);
    await page.getByRole("button", { name: "Remove the rule btc-usd-move" }).click();
    await waitFor(page, "the rule to be gone", () => !/btc-usd-move/.test(document.querySelector("#rule-list").textContent));
    assert.ok(!rules.rules.has("btc-usd-move"));
  });
});

test("on a phone each panel is a tab, and none is wider than the screen", LIMIT, async () => {
  await onPage(
    browser,
    {},
    async ({ gateway, page }) => {
      assert.deepEqual(await page.locator("#tabs [role=tab]:visible").allTextContents().then((all) => all.map((each) => each.trim())), ["Markets", "24 h", "Book", "Trades", "Alerts"]);
      assert.deepEqual(subscribed(gateway), []);
      for (const [tab, selector, pattern] of [["tickers", "#tickers tbody tr", "\\d\\.\\d+%"], ["book", "#book-bids .book-row", "6\\d,\\d{3}"], ["tape", "#tape tbody tr", "6\\d,\\d{3}"], ["alerts", "#rules-fault", "does not answer on this server"], ["markets", "#prices tbody tr", "\\d"]]) {
        await page.locator(`#tab-${tab}`).tap();
        await waitFor(page, tab, says, { selector, pattern });
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, tab);
      }
      // The choice is kept.
      await page.locator("#tab-book").tap();
      await page.reload();
      await waitFor(page, "the book at once", says, { selector: "#book-bids .book-row", pattern: "6\\d,\\d{3}" });
      assert.equal(await page.locator("#markets-panel").isVisible(), false);
    },
    PHONE,
  );
});

test("the page looks as the system does until a person chooses, and keeps the choice", LIMIT, async () => {
  /** Whether page and chart have the colours of a theme. */
  const looks = ({ background, bar }) => {
    if (getComputedStyle(document.body).backgroundColor !== background) return false;
    return [...document.querySelectorAll("#chart canvas")].some((canvas) => {
      if (canvas.width < 200 || canvas.height < 100) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255 && bar.some(([r, g, b]) => data[at] === r && data[at + 1] === g && data[at + 2] === b)) return true;
      return false;
    });
  };
  const LIGHT = { background: "rgb(243, 245, 249)", bar: [[15, 144, 119], [214, 64, 78]] };
  const DARK = { background: "rgb(10, 13, 19)", bar: [[38, 185, 154], [239, 95, 107]] };
  await onPage(
    browser,
    { historyBars: 60 },
    async ({ page }) => {
      await waitFor(page, "the light look", looks, LIGHT);
      await page.emulateMedia({ colorScheme: "dark" });
      await waitFor(page, "the dark look of the system", looks, DARK);
      await page.getByRole("button", { name: "Light theme" }).click();
      await waitFor(page, "the light look of a person", looks, LIGHT);
      await page.reload();
      await waitFor(page, "bars", hasDrawnBars, { bars: 20 });
      await waitFor(page, "the light look again", looks, LIGHT);
    },
    { context: { colorScheme: "light" } },
  );
});
