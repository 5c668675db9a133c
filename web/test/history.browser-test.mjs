/** The chart's past in a real browser: stored bars, widths, ranges, links, and a network that is cut. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { onPage } from "./live-page.mjs";
import { forgiveCut, hasDrawnBars, isWhole, launchBrowser, waitFor } from "./page.mjs";

const TOPIC = "kline:1s:BTC-USD";
const LIMIT = { timeout: 120_000 };
const DAY_MS = 86_400_000;
const PHONE = { context: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } };
let browser;

before(async () => {
  browser = await launchBrowser();
});
after(async () => {
  await browser.close();
});

function says({ selector, pattern }) {
  const element = document.querySelector(selector);
  return element !== null && element.checkVisibility() && new RegExp(pattern, "s").test(element.textContent);
}

/** Whether any point of the chart has one of `colours`; or, if not `isThere`, whether none has. */
function showsColour({ colours, isThere }) {
  for (const canvas of document.querySelectorAll("#chart canvas")) {
    if (canvas.width < 200 || canvas.height < 50) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let index = 0; index < data.length; index += 4) {
      if (colours.some(([r, g, b]) => Math.abs(data[index] - r) < 4 && Math.abs(data[index + 1] - g) < 4 && Math.abs(data[index + 2] - b) < 4)) return isThere;
    }
  }
  return !isThere;
}

/** A gap that rises or falls, in the dark and the light theme. */
const AMBER = [[245, 184, 61], [201, 134, 18], [153, 100, 10]];

/** The time of the bar at `part` of the chart's width. */
async function timeAt(page, part) {
  const box = await page.locator("#chart").boundingBox();
  await page.mouse.move(box.x + box.width * part, box.y + box.height * 0.3);
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  return page.locator("#bar-time").textContent();
}

async function until(what, condition) {
  const deadlineMs = Date.now() + 30_000;
  while (!condition()) {
    assert.ok(Date.now() < deadlineMs, `waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const questions = (gateway) => gateway.history.asked.filter((url) => url.pathname === "/api/v1/bars");

test("the chart is full after one question, with volume in a pane of its own", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: DAY_MS } }, async ({ gateway, page }) => {
    await waitFor(page, "a screen of bars and more", isWhole, { bars: 300, intervalMs: 1_000 });
    const first = questions(gateway)[0].searchParams;
    assert.deepEqual([first.get("symbol"), first.get("exchange"), first.get("width"), first.get("order")], ["BTC-USD", "coinbase", "1s", "desc"]);
    assert.equal(questions(gateway).length, 1);
    const panes = await page.evaluate(() => [...document.querySelectorAll("#chart tr")].filter((row) => row.getBoundingClientRect().height > 60).length);
    assert.equal(panes, 2);
  });
});

test("scrolled back, older pages come until the first stored bar, and the view does not jump", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: 3_000_000 } }, async ({ gateway, page }) => {
    await waitFor(page, "bars", isWhole, { bars: 300, intervalMs: 1_000 });
    let release;
    gateway.history.held = new Promise((resolve) => (release = resolve));
    await page.locator("#chart").focus();
    for (let press = 0; press < 30; press += 1) {
      await page.keyboard.press("ArrowLeft");
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    await until("a question for older bars", () => questions(gateway).some((url) => url.searchParams.has("to")));
    const seen = await timeAt(page, 0.5);
    const count = Number(await page.locator("#chart").getAttribute("data-bars"));
    release();
    gateway.history.held = null;
    await waitFor(page, "older bars", (bars) => Number(document.querySelector("#chart").dataset.bars) > bars + 100, count);
    assert.equal(await timeAt(page, 0.5), seen, "the same bar is at the same place");
    await page.locator("#chart").focus();
    const deadlineMs = Date.now() + 60_000;
    while (!(await page.evaluate(says, { selector: "#history-note", pattern: "^History begins 20" }))) {
      assert.ok(Date.now() < deadlineMs, "the first stored bar is reached");
      await page.keyboard.press("Home");
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    await waitFor(page, "all", isWhole, { bars: 3_000, intervalMs: 1_000 });
  });
});

test("bars that come while a page loads are there once, and none is missing at the seam", LIMIT, async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await onPage(browser, { stored: { depthMs: DAY_MS, held } }, async ({ gateway, page }) => {
    const start = gateway.forming(TOPIC).start_ms;
    await until("live bars", () => gateway.forming(TOPIC).start_ms >= start + 4_000);
    release();
    gateway.history.held = null;
    await waitFor(page, "one whole row of bars", isWhole, { bars: 304, intervalMs: 1_000 });
  });
});

test("widths that the gateway lists anew do not move the view", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: DAY_MS } }, async ({ gateway, page }) => {
    await waitFor(page, "bars", isWhole, { bars: 300, intervalMs: 1_000 });
    await page.locator("#chart").focus();
    for (let press = 0; press < 8; press += 1) {
      await page.keyboard.press("ArrowLeft");
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    const seen = await timeAt(page, 0.5);
    gateway.extraTopics = ["kline:5m:BTC-USD"];
    const lists = () => gateway.received.filter((message) => message.op === "list").length;
    const before = lists();
    gateway.closeAll(1012, "drain");
    await until("another list", () => lists() > before);
    const lastMs = gateway.forming(TOPIC).end_ms;
    await waitFor(page, "bars of after", (ms) => Number(document.querySelector("#chart").dataset.toMs) > ms, lastMs);
    assert.equal(await timeAt(page, 0.5), seen);
    await waitFor(page, "the way back", () => document.querySelector("#to-now").checkVisibility());
  });
});

test("what was missed while the network was cut is fetched after the reconnect", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: DAY_MS } }, async ({ gateway, page, faults }) => {
    await waitFor(page, "bars", isWhole, { bars: 300, intervalMs: 1_000 });
    gateway.cut();
    const cutMs = Date.now();
    await waitFor(page, "reconnecting", () => document.querySelector("#badge").dataset.state === "reconnecting");
    await until("six seconds of market", () => (gateway.lastClosed(TOPIC)?.start_ms ?? 0) > cutMs + 6_000);
    const asked = questions(gateway).length;
    const endMs = gateway.lastClosed(TOPIC).end_ms;
    gateway.mend();
    await waitFor(page, "bars of after", (ms) => Number(document.querySelector("#chart").dataset.toMs) > ms, endMs);
    await waitFor(page, "one whole row of bars", isWhole, { bars: 306, intervalMs: 1_000 });
    assert.ok(questions(gateway).slice(asked).some((url) => Number(url.searchParams.get("from")) < endMs));
    forgiveCut(faults);
  });
});

test("a gap that was healed at the source is healed on the chart, without a word from the gateway", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: DAY_MS } }, async ({ gateway, page }) => {
    await waitFor(page, "bars", isWhole, { bars: 300, intervalMs: 1_000 });
    const { topic, seq, epoch, end_ms, ...fields } = gateway.forming(TOPIC);
    assert.ok(await page.evaluate(showsColour, { colours: AMBER, isThere: false }));
    const bars = [12, 11, 10].map((ago) => gateway.publish({ ...fields, start_ms: fields.start_ms - ago * 1_000, state: "closed", rev: 1, quality: "gap" }));
    await waitFor(page, "amber", showsColour, { colours: AMBER, isThere: true });
    for (const bar of bars) gateway.history.store({ ...bar, rev: 2, quality: "backfilled" });
    await waitFor(page, "no amber", showsColour, { colours: AMBER, isThere: false });
  });
});

test("when history cannot be had the page says why, goes on live, and takes it when it is back", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: DAY_MS, trouble: "down" } }, async ({ gateway, page }) => {
    await waitFor(page, "the words", says, { selector: "#history-note", pattern: "does not answer.*tries again by itself" });
    await waitFor(page, "live bars", hasDrawnBars, { bars: 2 });
    gateway.history.trouble = null;
    await waitFor(page, "history", isWhole, { bars: 300, intervalMs: 1_000 });
    await waitFor(page, "no words", () => document.querySelector("#history-note").hidden);
  });
  await onPage(browser, { stored: { trouble: "absent" } }, async ({ gateway, page }) => {
    await waitFor(page, "the words", says, { selector: "#history-note", pattern: "This server keeps no history. The chart shows live bars only" });
    await waitFor(page, "live bars", hasDrawnBars, { bars: 3 });
    assert.equal(questions(gateway).length, 1);
  });
});

test("a symbol of several exchanges is asked for again once its own is known", LIMIT, async () => {
  await onPage(
    browser,
    { stored: { depthMs: DAY_MS }, hasMarket: false, extraTopics: ["kline:1m:BTC-USDT"] },
    async ({ gateway, page }) => {
      await waitFor(page, "the refusal", says, { selector: "#history-note", pattern: "several exchanges have the symbol" });
      gateway.hasMarket = true;
      await waitFor(page, "its bars", isWhole, { bars: 300, intervalMs: 60_000 });
      assert.equal(questions(gateway).at(-1).searchParams.get("exchange"), "binance");
    },
    { hash: "#symbol=BTC-USDT&timeframe=1m", isExpectedLive: false },
  );
});

test("any width comes from the menu, or is written", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: 30 * DAY_MS } }, async ({ page }) => {
    const opener = page.locator("#width-opener");
    await opener.click();
    assert.deepEqual(await page.locator("#width-list button").allTextContents(), ["1s", "5s", "15s", "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"]);
    await page.locator("#width-list button", { hasText: /^15s$/ }).click();
    await waitFor(page, "15 seconds", hasDrawnBars, { bars: 300, topic: "kline:15s:BTC-USD" });
    assert.ok(!(await page.locator("#width-panel").isVisible()));
    await opener.click();
    await page.locator("#width-input").fill("zebra");
    await page.keyboard.press("Enter");
    await waitFor(page, "what to write", says, { selector: "#width-fault", pattern: "Write a number and s, m, h" });
    await page.locator("#width-input").fill("7 min");
    await page.keyboard.press("Enter");
    await waitFor(page, "seven minutes", hasDrawnBars, { bars: 300, topic: "kline:7m:BTC-USD" });
    assert.match(await opener.textContent(), /^7m/);
    await waitFor(page, "the live bar after the stored ones", says, { selector: "#bar-state", pattern: "^forming" });
    await opener.click();
    await page.keyboard.press("Escape");
    assert.ok(!(await page.locator("#width-panel").isVisible()));
    await page.locator("#timeframes button", { hasText: /^1m$/ }).click();
    await waitFor(page, "a minute", isWhole, { bars: 300, intervalMs: 60_000 });
    assert.match(await opener.textContent(), /^More/);
  });
});

test("a range is shown whole in a width that suits it, until the view is moved", LIMIT, async () => {
  await onPage(browser, { stored: { depthMs: 60 * DAY_MS } }, async ({ page }) => {
    await page.locator("#ranges button", { hasText: /^1d$/ }).click();
    await waitFor(page, "a day of five minutes", isWhole, { bars: 288, intervalMs: 300_000 });
    await waitFor(page, "its address", () => /#symbol=BTC-USD&timeframe=5m&range=1d$/.test(window.location.href));
    const left = Date.parse(`${(await timeAt(page, 0.03)).replace(" ", "T")}Z`);
    assert.ok(Math.abs(Date.now() - DAY_MS - left) < 0.1 * DAY_MS, new Date(left).toISOString());
    await page.locator("#ranges button", { hasText: /^all$/ }).click();
    await waitFor(page, "everything", says, { selector: "#history-note", pattern: "^History begins" });
    const box = await page.locator("#chart").boundingBox();
    await page.mouse.move(box.x + 200, box.y + 100);
    await page.mouse.wheel(-200, 0);
    await waitFor(page, "no range", () => document.querySelector('#ranges [aria-pressed="true"]') === null);
    await page.waitForURL((url) => !url.hash.includes("range="));
  });
});

test("a link shows the same part of the past in the same zone, and back leads to the view before", LIMIT, async () => {
  const fromMs = Math.floor((Date.now() - 20 * DAY_MS) / 3_600_000) * 3_600_000;
  const iso = (ms) => `${new Date(ms).toISOString().slice(0, 19)}Z`;
  const hash = `#symbol=BTC-USD&timeframe=1m&from=${iso(fromMs)}&to=${iso(fromMs + 7_200_000)}&zone=utc`;
  await onPage(
    browser,
    { stored: { depthMs: 60 * DAY_MS } },
    async ({ gateway, page }) => {
      await waitFor(page, "the past", (ms) => Number(document.querySelector("#chart").dataset.fromMs) <= ms, fromMs);
      const middle = Date.parse(`${(await timeAt(page, 0.45)).replace(" ", "T")}:00Z`);
      assert.ok(middle > fromMs && middle < fromMs + 7_200_000, new Date(middle).toISOString());
      assert.ok(questions(gateway).length <= 4, `${questions(gateway).length} questions`);
      assert.equal(await page.locator("#zone").textContent(), "UTC");
      assert.equal(new URL(page.url()).hash, hash);
      await page.locator('#prices tr[data-symbol="ETH-USDT"]').click();
      await waitFor(page, "another symbol at the same time", (ms) => {
        const { topic, fromMs: ownMs } = document.querySelector("#chart").dataset;
        return topic === "kline:1m:ETH-USDT" && Number(ownMs) <= ms;
      }, fromMs);
      await page.goBack();
      await waitFor(page, "the first", () => document.querySelector("#chart").dataset.topic === "kline:1m:BTC-USD");
      await page.locator("#to-now").click();
      await page.locator("#to-now").waitFor({ state: "hidden" });
      await page.waitForURL((url) => !url.hash.includes("from="));
      await page.locator("#zone").click();
      await page.waitForURL((url) => url.hash.endsWith("&zone=local"));
    },
    { hash, isExpectedLive: false, context: { timezoneId: "Asia/Kolkata" } },
  );
});

test("on a phone a finger scrolls into the past, and menu and ranges fit the screen", LIMIT, async () => {
  await onPage(
    browser,
    { stored: { depthMs: DAY_MS } },
    async ({ page }) => {
      await waitFor(page, "bars", isWhole, { bars: 300, intervalMs: 1_000 });
      const touch = await page.context().newCDPSession(page);
      const box = await page.locator("#chart").boundingBox();
      const y = box.y + box.height * 0.3;
      const finger = (type, x) => touch.send("Input.dispatchTouchEvent", { type, touchPoints: x === null ? [] : [{ x, y }] });
      const count = Number(await page.locator("#chart").getAttribute("data-bars"));
      for (let swipe = 0; swipe < 10; swipe += 1) {
        await finger("touchStart", box.x + 20);
        for (let step = 1; step <= 10; step += 1) await finger("touchMove", box.x + 20 + step * 28);
        await finger("touchEnd", null);
      }
      await waitFor(page, "older bars", (bars) => Number(document.querySelector("#chart").dataset.bars) > bars + 200, count);
      await page.locator("#to-now").tap();
      await page.locator("#width-opener").tap();
      const panel = await page.locator("#width-panel").boundingBox();
      assert.ok(panel.x >= 0 && panel.x + panel.width <= 390, JSON.stringify(panel));
      await page.locator("#width-list button", { hasText: /^5m$/ }).tap();
      await waitFor(page, "five minutes", isWhole, { bars: 288, intervalMs: 300_000 });
      for (const button of await page.locator("#ranges button").all()) assert.ok((await button.boundingBox()).height >= 36);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
    },
    PHONE,
  );
});
