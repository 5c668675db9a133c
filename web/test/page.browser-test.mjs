/** The page in a real browser against the fake gateway, on good days and bad ones. Needs Chromium, see page.mjs. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FakeGateway, seededRandom } from "./fake-gateway.mjs";
import { onPage } from "./live-page.mjs";
import { chooseTimeframe, hasDrawnBars, isLive, launchBrowser, openPage, waitFor } from "./page.mjs";

const SECOND_TOPIC = "kline:1s:BTC-USD";
const LIMIT_MS = 120_000;
let browser;

before(async () => {
  browser = await launchBrowser();
});
after(async () => {
  await browser.close();
});

const onLivePage = (options, scenario, hash) => onPage(browser, options, scenario, { hash });
const badgeState = (page) => page.locator("#badge").getAttribute("data-state");

test("live, killed, reconnecting, live again", { timeout: LIMIT_MS }, async () => {
  let restarted = null;
  const gateway = new FakeGateway();
  const port = await gateway.start();
  const { page, faults } = await openPage(browser, `http://127.0.0.1:${port}/#symbol=BTC-USD&timeframe=1s`);
  try {
    await waitFor(page, "the badge to say live", isLive);
    await waitFor(page, "bars", hasDrawnBars, { bars: 3 });
    const barsBefore = Number(await page.locator("#chart").getAttribute("data-bars"));
    await gateway.kill();
    await waitFor(page, "reconnecting", () => document.querySelector("#badge").dataset.state === "reconnecting");
    assert.match(await page.locator("#badge").getAttribute("title"), /lost/);
    restarted = new FakeGateway();
    await restarted.start(port);
    await waitFor(page, "live again", isLive);
    await waitFor(page, "more bars than before", (count) => Number(document.querySelector("#chart").dataset.bars) > count, barsBefore);
    // A browser reports each refused attempt by itself; the page must add nothing.
    assert.deepEqual(faults.filter((fault) => !/WebSocket connection to/.test(fault)), []);
  } finally {
    await page.close();
    await (restarted ?? gateway).kill();
  }
});

test("a drain is followed by a reconnect and a refusal by a plain stop", { timeout: LIMIT_MS }, async () => {
  await onLivePage({}, async ({ gateway, page }) => {
    gateway.closeAll(1012, "drain");
    await waitFor(page, "reconnecting", () => document.querySelector("#badge").dataset.state === "reconnecting");
    await waitFor(page, "live again", isLive);
    gateway.closeAll(1003, "no binary frames");
    await waitFor(page, "the stop", () => !document.querySelector("#stopped-banner").hidden);
    assert.match(await page.locator("#stopped-banner").textContent(), /unsupported data: no binary frames/);
    assert.equal(gateway.sessionCount, 0);
  });
  await onLivePage({}, async ({ gateway, page }) => {
    gateway.closeAll(4003, "token expired");
    await waitFor(page, "the question for another token", () => !document.querySelector("#access").hidden);
    assert.match(await page.locator("#access").textContent(), /not authorised: token expired/);
    assert.equal(gateway.sessionCount, 0);
  });
});

test("a stale feed shows in the badge, and so does a feed that says nothing", { timeout: LIMIT_MS }, async () => {
  await onLivePage({}, async ({ gateway, page }) => {
    gateway.feedState = "stale";
    await waitFor(page, "stale", () => document.querySelector("#badge").dataset.state === "stale");
    gateway.feedState = "live";
    await waitFor(page, "live", isLive);
    gateway.isFeedSilent = true;
    await waitFor(page, "stale for want of a status", () => document.querySelector("#badge").dataset.state === "stale");
  });
});

test("simulated data is said plainly, and live data is not called simulated", { timeout: LIMIT_MS }, async () => {
  await onLivePage({ mode: "sim" }, async ({ gateway, page }) => {
    await waitFor(page, "the banner", () => !document.querySelector("#sim-banner").hidden);
    assert.match(await page.locator("#sim-banner").textContent(), /^Simulated data: /);
    gateway.mode = "live";
    await waitFor(page, "no banner", () => document.querySelector("#sim-banner").hidden);
  });
});

test("a revised older bar is shown as revised, and bars at random places break nothing", { timeout: LIMIT_MS }, async () => {
  await onLivePage({ historyBars: 60 }, async ({ gateway, page }) => {
    const base = { ...gateway.forming(SECOND_TOPIC), state: "closed" };
    const { topic, seq, epoch, end_ms, ...fields } = base;
    const random = seededRandom(11);
    const spread = Number(base.close) * 0.001;
    for (let round = 0; round < 400; round += 1) {
      const open = Number(base.close) + (random() - 0.5) * spread;
      const close = open + (random() - 0.5) * spread;
      gateway.publish({
        ...fields,
        start_ms: base.start_ms - Math.floor(random() * 90) * 1_000,
        open: open.toFixed(2),
        close: close.toFixed(2),
        high: (Math.max(open, close) + spread * 0.1).toFixed(2),
        low: (Math.min(open, close) - spread * 0.1).toFixed(2),
        rev: 1 + Math.floor(random() * 4),
        quality: ["complete", "gap", "backfilled", "partial", "filled"][Math.floor(random() * 5)],
      });
      if (round % 40 === 0) await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    }
    const startMs = base.start_ms - 5_000;
    gateway.publish({ ...fields, start_ms: startMs, quality: "gap", rev: 9 });
    await waitFor(page, "the revised bar under the crosshair", async () => {
      const chart = document.querySelector("#chart");
      const box = chart.getBoundingClientRect();
      for (let x = box.right - 320; x < box.right - 60; x += 3) {
        const target = document.elementFromPoint(x, box.top + 120);
        target.dispatchEvent(new MouseEvent("mousemove", { bubbles: true, clientX: x, clientY: box.top + 120 }));
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        if (/^closed · gap · revised 9×$/.test(document.querySelector("#bar-state").textContent)) return true;
      }
      return false;
    });
  });
});

test("unreadable messages neither stop the page nor pass unseen", { timeout: LIMIT_MS }, async () => {
  await onLivePage({}, async ({ gateway, page, faults }) => {
    gateway.sendRaw('{"topic":"kline:1s:BTC-USD","open":');
    gateway.sendRaw(JSON.stringify({ topic: SECOND_TOPIC, open: "<img src=x onerror=alert(1)>" }));
    const count = Number(await page.locator("#chart").getAttribute("data-bars"));
    await waitFor(page, "more bars", (bars) => Number(document.querySelector("#chart").dataset.bars) > bars, count);
    const reports = faults.splice(0).filter((fault) => fault.includes("gateway: malformed_message"));
    assert.equal(reports.length, 2);
  });
});

test("a hidden page gets closed bars of its chart only, and one snapshot on return", { timeout: LIMIT_MS }, async () => {
  await onLivePage({}, async ({ gateway, page }) => {
    const setVisibility = (state) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "visibilityState", { configurable: true, get: () => value });
        Object.defineProperty(document, "hidden", { configurable: true, get: () => value === "hidden" });
        document.dispatchEvent(new Event("visibilitychange"));
      }, state);
    await setVisibility("hidden");
    const until = async (what, condition) => {
      const deadlineMs = Date.now() + 30_000;
      while (!condition()) {
        assert.ok(Date.now() < deadlineMs, `waited for ${what}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await until("the page to unsubscribe", () => gateway.received.some((message) => message.op === "unsub" && message.topics.includes("kline:1d:*")));
    const framesBefore = gateway.framesSent;
    const startMs = Date.now();
    const closed = gateway.lastClosed(SECOND_TOPIC)?.start_ms ?? 0;
    await until("five seconds of closed bars", () => (gateway.lastClosed(SECOND_TOPIC)?.start_ms ?? 0) >= closed + 5_000);
    const seconds = (Date.now() - startMs) / 1_000;
    // Live, this page gets about ten frames a second.
    assert.ok(gateway.framesSent - framesBefore <= seconds * 2 + 4, `${gateway.framesSent - framesBefore} frames in ${seconds} s`);

    gateway.received.length = 0;
    const booksBefore = { ...gateway.booksSent };
    await setVisibility("visible");
    await until("the page to subscribe again", () => gateway.received.filter((message) => message.op === "sub").length > 0);
    await waitFor(page, "live", isLive);
    const subs = gateway.received.filter((message) => message.op === "sub");
    assert.ok(subs.length <= 4, `${subs.length} subscribe messages`);
    assert.ok(subs.find((message) => message.topics.includes(SECOND_TOPIC)).since.seq[SECOND_TOPIC] > 0, "it resumes where it stopped");
    await until("changes of the book", () => gateway.booksSent.changes > booksBefore.changes);
    assert.equal(gateway.booksSent.whole, booksBefore.whole + 1, "one snapshot of the book");
  });
});

test("the whole page works from the keyboard", { timeout: LIMIT_MS }, async () => {
  await onLivePage({ historyBars: 80 }, async ({ page }) => {
    await page.locator('#prices tbody tr[data-symbol="BTC-USD"] button').focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await waitFor(page, "BTC-USDT", () => document.querySelector("#symbol").textContent === "BTC-USDT" && document.title.includes("BTC-USDT"));
    await page.locator("#timeframes button", { hasText: "1h" }).focus();
    await page.keyboard.press("Space");
    await waitFor(page, "hours", hasDrawnBars, { bars: 1, topic: "kline:1h:BTC-USDT" });
    await page.locator("#chart").focus();
    for (const key of ["ArrowLeft", "ArrowLeft", "+", "-", "ArrowRight", "End"]) await page.keyboard.press(key);
    assert.equal(new URL(page.url()).hash, "#symbol=BTC-USDT&timeframe=1h");
    await page.locator("#filter").fill("okx");
    await waitFor(page, "two rows", () => document.querySelectorAll("#prices tbody tr").length === 2);
    await page.locator("#filter").fill("");
    await page.getByRole("button", { name: "Last" }).click();
    await waitFor(page, "the dearest first", () => document.querySelector("#prices tbody tr").dataset.symbol.includes("BTC"));
  });
});

test("the address chooses symbol and timeframe, also when it changes", { timeout: LIMIT_MS }, async () => {
  await onLivePage(
    {},
    async ({ page }) => {
      assert.equal(await page.locator("#symbol").textContent(), "OKX:BTC-USDT");
      await page.evaluate(() => {
        window.location.hash = "#symbol=PEPE-USDT&timeframe=1s";
      });
      await waitFor(page, "PEPE", hasDrawnBars, { bars: 1, topic: "kline:1s:PEPE-USDT" });
      await chooseTimeframe(page, "1d");
      // The string as sent: no exponent, no added zeros.
      assert.match(await page.locator("#last-price").textContent(), /^0\.00000\d+$/);
    },
    "#symbol=OKX:BTC-USDT&timeframe=1m",
  );
});

test("before the first bar the page says that it is collecting", { timeout: LIMIT_MS }, async () => {
  const options = { hasMarket: false, extraTopics: ["1s", "1m", "1h", "1d"].map((interval) => `kline:${interval}:NEW-USD`) };
  const collects = () => /Collecting 1s bars of NEW-USD/.test(document.querySelector("#collecting:not([hidden])")?.textContent ?? "");
  await onPage(
    browser,
    options,
    async ({ page }) => {
      await waitFor(page, "the note", collects);
      await waitFor(page, "live", isLive);
    },
    { hash: "#symbol=NEW-USD&timeframe=1s", isExpectedLive: false },
  );
});
