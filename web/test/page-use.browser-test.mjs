/** The page as people use it: what it says when something is wrong, searching, phones, keys. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { onPage } from "./live-page.mjs";
import { hasDrawnBars, hasPrices, launchBrowser, waitFor } from "./page.mjs";

const TOPIC = "kline:1s:BTC-USD";
const LIMIT = { timeout: 120_000 };
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

test("bars that were skipped are asked for again, and what does not come is told", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page }) => {
    const { topic, seq, epoch, end_ms, ...fields } = gateway.forming(TOPIC);
    const closed = (startMs, more = {}) => gateway.bar({ ...fields, state: "closed", start_ms: startMs, ...more });
    const lost = [40, 39, 38].map((ago) => closed(fields.start_ms - ago * 1_000));
    const after = closed(fields.start_ms - 37_000, { skipped: 3 });
    const isAskedAgain = () => gateway.received.some((message) => message.op === "sub" && message.topics.includes(TOPIC) && message.since?.epoch === 0);
    gateway.received.length = 0;
    gateway.publishLines(TOPIC, [after]);
    await waitFor(page, "the note of three", says, { selector: "#lost-note", pattern: "^3 not received" });
    const deadlineMs = Date.now() + 30_000;
    while (!isAskedAgain()) {
      assert.ok(Date.now() < deadlineMs, "the page asked again");
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    gateway.publishLines(TOPIC, lost.slice(0, 2));
    await waitFor(page, "the note of one", says, { selector: "#lost-note", pattern: "^1 not received" });
    gateway.publishLines(TOPIC, lost.slice(2));
    await waitFor(page, "no note", () => document.querySelector("#lost-note").hidden);
  });
});

test("the badge is about the exchange of the chosen symbol", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page }) => {
    gateway.feedStates.coinbase = "reconnecting";
    await waitFor(page, "reconnecting", () => document.querySelector("#badge").dataset.state === "reconnecting");
    await waitFor(page, "why, to be read without a mouse", says, { selector: "#status-line", pattern: "Coinbase cannot be reached" });
    await waitFor(page, "dimmed rows of that exchange alone", () =>
      [...document.querySelectorAll("#prices tbody tr")].every((row) => row.classList.contains("dim") === /-USD$/.test(row.dataset.symbol)),
    );
    await page.locator('#prices tr[data-symbol="BTC-USDT"]').click();
    await waitFor(page, "live", says, { selector: "#badge", pattern: "Live" });
  });
});

test("a part of a day is marked in the head and in the table, in words", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page }) => {
    await waitFor(page, "a whole day", says, { selector: "#day-note", pattern: "^today$" });
    assert.ok(!(await page.locator("#partial-note").isVisible()));
    gateway.dayQuality = "partial";
    await waitFor(page, "the mark in the head", says, { selector: "#day-note", pattern: "^partial day$" });
    await waitFor(page, "the mark in the table", says, { selector: "#partial-note", pattern: "since recording began" });
    const cells = page.locator('#prices tr[data-symbol="BTC-USD"] td:has(.partial-mark:not([hidden]))');
    assert.equal(await cells.count(), 2);
    assert.match(await cells.first().textContent(), /^part of the day /);
  });
});

// In the first minute of a day nothing of it is stored, and the page asks again up to 75 s later.
const FIRST_MINUTE = { timeout: 240_000, waitMs: 120_000 };

test("a day that began before the recording counts from its first stored price", FIRST_MINUTE, async () => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await onPage(browser, { dayQuality: "partial", stored: { held } }, async ({ gateway, page }) => {
    await waitFor(page, "the mark of a part of a day", says, { selector: "#day-note", pattern: "^partial day$" });
    const { symbol, start_ms } = gateway.forming("kline:1d:BTC-USD");
    // Half of what it is now: a day of +100 %.
    const prices = { open: "32060.25", high: "65000", low: "32000", close: "64000", volume: "5" };
    for (const [interval, lengthMs] of [["1h", 3_600_000], ["1m", 60_000]]) {
      gateway.history.store(gateway.bar({ symbol, interval, start_ms, end_ms: start_ms + lengthMs, state: "closed", ...prices }));
    }
    gateway.history.depthMs = 2 * 86_400_000;
    gateway.history.held = null;
    release();
    await waitFor(page, "the whole day", says, { selector: "#day-note", pattern: "^today$" }, FIRST_MINUTE.waitMs);
    await waitFor(page, "the change since then", says, { selector: "#day-change", pattern: "^\\+(9\\d|10\\d)\\.\\d\\d%$" });
    // In the table, too; its volumes are still those of a part.
    const marks = '#prices tr[data-symbol="BTC-USD"] td:has(.partial-mark:not([hidden]))';
    await waitFor(page, "one mark in the table", (selector) => document.querySelectorAll(selector).length === 1, marks);
    const row = '#prices tr[data-symbol="BTC-USD"]';
    await waitFor(page, "the change in the table", says, { selector: row, pattern: "\\+(9\\d|10\\d)\\.\\d\\d%" });
    // The ages' timer writes it, up to half a second after the marks.
    await waitFor(page, "what the mark means", says, { selector: "#partial-note", pattern: "since recording began" });
  });
});

test("scrolled back, the axis names the price of now, and a button leads there", LIMIT, async () => {
  // The axis is a canvas: what is written on it is caught on its way there.
  const prepare = (page) =>
    page.addInitScript(() => {
      window.written = [];
      const write = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.written = [...window.written.slice(-400), text];
        return write.call(this, text, ...rest);
      };
    });
  await onPage(
    browser,
    { historyBars: 120 },
    async ({ gateway, page }) => {
      const hasPriceOnAxis = () => {
        const price = document.querySelector("#last-price").textContent;
        const isThere = window.written.includes(price);
        window.written = [];
        return isThere;
      };
      // A bar as high and low as all prices to come keeps the price on the axis wherever one looks.
      const { topic, seq, epoch, end_ms, ...fields } = gateway.forming("kline:1s:ETH-USD");
      const price = Number(fields.close);
      gateway.publish({ ...fields, start_ms: fields.start_ms - 60_000, state: "closed", rev: 1, high: (price * 1.02).toFixed(2), low: (price * 0.98).toFixed(2) });
      await waitFor(page, "the price on the axis", hasPriceOnAxis);
      await page.locator("#chart").focus();
      assert.ok(!(await page.locator("#to-now").isVisible()));
      for (let press = 0; press < 6; press += 1) await page.keyboard.press("ArrowLeft");
      await page.locator("#to-now").waitFor({ state: "visible" });
      await waitFor(page, "the price on the axis though its bar is out of sight", hasPriceOnAxis);
      await page.locator("#to-now").click();
      await page.locator("#to-now").waitFor({ state: "hidden" });
      await page.locator("#chart").focus();
      await page.keyboard.press("Home");
      await page.locator("#to-now").waitFor({ state: "visible" });
      await page.keyboard.press("End");
      await page.locator("#to-now").waitFor({ state: "hidden" });
    },
    { hash: "#symbol=ETH-USD&timeframe=1s", prepare },
  );
});

test("a symbol that the gateway does not have is said at once and gets no row", LIMIT, async () => {
  await onPage(
    browser,
    {},
    async ({ page }) => {
      await waitFor(page, "the notice", says, { selector: "#collecting", pattern: "No data of NOPE-USD.*check the spelling" });
      assert.equal(await page.locator('#prices tr[data-symbol="NOPE-USD"]').count(), 0);
      assert.match(await page.locator("#prices-note").textContent(), /^13 symbols$/);
      await page.evaluate(() => (window.location.hash = "#symbol=btc-usd&timeframe=1s"));
      await waitFor(page, "lower case understood", hasDrawnBars, { bars: 1, topic: TOPIC });
    },
    { hash: "#symbol=NOPE-USD&timeframe=1s", isExpectedLive: false },
  );
});

test("a symbol that its exchange refused is named", LIMIT, async () => {
  await onPage(browser, { unserved: { coinbase: { refused: ["GONE-USD"] }, okx: { unknown: ["OKX:NEVER-USDT"] } } }, async ({ page }) => {
    await waitFor(page, "the line", says, { selector: "#status-line", pattern: "Coinbase does not serve GONE-USD.*OKX does not serve OKX:NEVER-USDT" });
  });
});

test("symbols that no exchange serves are named also while a feed is not live", LIMIT, async () => {
  await onPage(
    browser,
    { feedState: "stale", unserved: { okx: { unknown: ["OKX:NEVER-USDT"], unknown_count: 3 } } },
    async ({ page }) => {
      await waitFor(page, "the line", says, { selector: "#status-line", pattern: "sent nothing.*OKX does not serve OKX:NEVER-USDT and 2 more" });
    },
    { isExpectedLive: false },
  );
});

test("bars of a width that the gateway does not have are made of shorter ones", LIMIT, async () => {
  await onPage(
    browser,
    {},
    async ({ page }) => {
      await waitFor(page, "bars", hasDrawnBars, { bars: 1, topic: "kline:5m:BTC-USD" });
      const price = await page.locator("#last-price").textContent();
      await waitFor(page, "a price that moves", (text) => document.querySelector("#last-price").textContent !== text, price);
      assert.match(await page.locator("#bar-state").textContent(), /^forming/);
    },
    { hash: "#symbol=BTC-USD&timeframe=5m", isExpectedLive: false },
  );
});

test("a width that cannot be made becomes the nearest, and the page says so", LIMIT, async () => {
  await onPage(
    browser,
    { unknownInterval: "1s" },
    async ({ page }) => {
      await waitFor(page, "the nearest", hasDrawnBars, { bars: 1, topic: "kline:1m:BTC-USD" });
      await waitFor(page, "the line", says, { selector: "#status-line", pattern: "no 30s bars, so the chart shows 1m" });
      assert.deepEqual(await page.locator("#timeframes button").allTextContents(), ["1m", "5m", "15m", "1h", "4h", "1d"]);
    },
    { hash: "#symbol=BTC-USD&timeframe=30s", isExpectedLive: false },
  );
});

test("a gateway without bars of days fills the table with the longest that it has", LIMIT, async () => {
  await onPage(browser, { unknownInterval: "1d" }, async ({ page }) => {
    await waitFor(page, "hours", hasPrices, 13);
    await waitFor(page, "no button of days", () => [...document.querySelectorAll("#timeframes button")].map((each) => each.textContent).join() === "1s,1m,5m,15m,1h,4h,1d");
  }, { isExpectedLive: false });
});

test("where a token is wanted the page asks for it at once, and goes on with it", LIMIT, async () => {
  await onPage(
    browser,
    { token: "let-me-in" },
    async ({ page }) => {
      await waitFor(page, "the question", says, { selector: "#access", pattern: "wants a token" });
      assert.match(await page.locator("#badge").textContent(), /Token needed/);
      await page.getByLabel("wants a token").fill("not-this-one");
      await page.getByRole("button", { name: "Connect" }).click();
      await waitFor(page, "the refusal", says, { selector: "#access", pattern: "did not take the token: .*not valid" });
      await page.locator("#token").fill("let-me-in");
      await page.keyboard.press("Enter");
      await waitFor(page, "bars", hasDrawnBars, { bars: 1 });
      await waitFor(page, "no question any more", () => !document.querySelector("#access").checkVisibility());
    },
    { isExpectedLive: false },
  );
});

test("when no exchange can be reached the page says so, and not how old nothing is", LIMIT, async () => {
  await onPage(
    browser,
    { hasMarket: false, feedState: "reconnecting" },
    async ({ page }) => {
      await waitFor(page, "the notice", says, { selector: "#collecting", pattern: "No exchange can be reached.*--feed sim" });
      assert.deepEqual(await page.locator("#feeds .age").allTextContents(), ["no data yet", "no data yet", "no data yet"]);
    },
    { hash: "", isExpectedLive: false },
  );
});

test("the price table is searched and chosen from without a mouse", LIMIT, async () => {
  await onPage(browser, {}, async ({ page }) => {
    const rows = () => page.locator("#prices tbody tr").evaluateAll((all) => all.map((row) => row.dataset.symbol));
    await page.keyboard.press("/");
    await page.keyboard.type("eth/usdt");
    await waitFor(page, "two rows", () => document.querySelectorAll("#prices tbody tr").length === 2);
    await page.keyboard.press("Enter");
    await waitFor(page, "the first", () => document.querySelector("#symbol").textContent === "ETH-USDT");
    await page.keyboard.press("Escape");
    await page.keyboard.type("coinbase");
    await waitFor(page, "the exchange's", () => document.querySelectorAll("#prices tbody tr").length === 5);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await waitFor(page, "the second", (symbol) => document.querySelector("#symbol").textContent === symbol, (await rows())[1]);
    await page.locator("#filter").fill("no such thing");
    await waitFor(page, "words for nothing", says, { selector: "#prices-empty", pattern: "No symbol is like “no such thing”" });
    await page.locator("#filter").fill("");
    await waitFor(page, "all", () => document.querySelectorAll("#prices tbody tr").length === 13);
    // One stop of Tab for the whole table; arrows, Home and End do the rest.
    assert.equal(await page.locator('#prices tbody button[tabindex="0"]').count(), 1);
    await page.locator('#prices tbody button[tabindex="0"]').focus();
    await page.keyboard.press("End");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), (await rows()).at(-1));
    await page.keyboard.press("Home");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), (await rows())[0]);
    // Back returns to the symbol before.
    await page.goBack();
    await waitFor(page, "the one before", () => document.querySelector("#symbol").textContent === "ETH-USDT");
  });
});

test("on a phone a choice shows the chart, and a finger on the chart scrolls the page", LIMIT, async () => {
  await onPage(
    browser,
    { historyBars: 60 },
    async ({ page }) => {
      const scrollY = () => page.evaluate(() => window.scrollY);
      const touch = await page.context().newCDPSession(page);
      const box = await page.locator("#chart").boundingBox();
      const finger = (type, y) => touch.send("Input.dispatchTouchEvent", { type, touchPoints: y === null ? [] : [{ x: box.x + box.width / 3, y }] });
      const startY = box.y + box.height * 0.8;
      await finger("touchStart", startY);
      for (let step = 1; step <= 12; step += 1) await finger("touchMove", startY - step * 20);
      await finger("touchEnd", null);
      await waitFor(page, "the page to have scrolled", () => window.scrollY > 100);
      await page.locator('#prices tr[data-symbol="ETH-USDT"]').scrollIntoViewIfNeeded();
      await waitFor(page, "the line with symbol and price", says, { selector: "#to-chart", pattern: "BTC-USD.*\\d" });
      assert.ok((await scrollY()) > 100);
      await page.locator('#prices tr[data-symbol="ETH-USDT"]').tap();
      await waitFor(page, "the chart in sight", () => {
        const { top } = document.querySelector("#chart-panel").getBoundingClientRect();
        return document.querySelector("#symbol").textContent === "ETH-USDT" && top >= 0 && top < 200;
      });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
    },
    PHONE,
  );
});

test("a device without network is called offline, and its prices look old", LIMIT, async () => {
  await onPage(browser, {}, async ({ gateway, page, faults }) => {
    await page.context().setOffline(true);
    // A loopback connection lives on without a network: nothing comes when the gateway falls silent, too.
    gateway.isSilent = true;
    await waitFor(page, "offline", says, { selector: "#badge", pattern: "Offline" });
    await waitFor(page, "dimmed prices", () => Number(getComputedStyle(document.querySelector("#last-price")).opacity) < 1);
    gateway.isSilent = false;
    await page.context().setOffline(false);
    await waitFor(page, "live again", says, { selector: "#badge", pattern: "Live" });
    faults.splice(0, faults.length, ...faults.filter((fault) => !/WebSocket connection to/.test(fault)));
  });
});

test("what comes in while the page starts moves nothing on it", LIMIT, async () => {
  const prepare = (page) =>
    page.addInitScript(() => {
      window.shift = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) window.shift += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
    });
  for (const options of [{}, PHONE]) {
    await onPage(
      browser,
      { mode: "sim", historyBars: 30 },
      async ({ page }) => {
        await waitFor(page, "the banner", says, { selector: "#sim-banner", pattern: "^Simulated data: " });
        // 0.1 is the bound of "good" in Web Vitals.
        const shift = await page.evaluate(() => window.shift);
        assert.ok(shift < 0.1, `layout shift ${shift}`);
      },
      { ...options, prepare },
    );
  }
});

test("only prices in sight are animated, and those out of sight keep up", LIMIT, async () => {
  await onPage(
    browser,
    {},
    async ({ page }) => {
      await page.evaluate(() => {
        window.ticked = new Set();
        new MutationObserver((changes) => {
          for (const { target } of changes) if (/ticked/.test(target.className)) window.ticked.add(target.dataset.symbol);
        }).observe(document.querySelector("#prices tbody"), { subtree: true, attributeFilter: ["class"] });
      });
      await waitFor(page, "prices that move in sight", () => window.ticked.size >= 2);
      const unseen = await page.evaluate(() =>
        [...window.ticked].filter((symbol) => {
          const { top, bottom } = document.querySelector(`#prices tr[data-symbol="${symbol}"]`).getBoundingClientRect();
          return bottom < 0 || top > window.innerHeight;
        }),
      );
      assert.deepEqual(unseen, []);
      const last = () => document.querySelector("#prices tbody tr:last-child .price").textContent;
      const before = await page.evaluate(last);
      assert.ok(!(await page.evaluate(() => window.ticked.has(document.querySelector("#prices tbody tr:last-child").dataset.symbol))));
      await waitFor(page, "a price out of sight to change", (text) => document.querySelector("#prices tbody tr:last-child .price").textContent !== text, before);
    },
    { context: { viewport: { width: 1440, height: 420 } } },
  );
});

test("two hundred symbols at full rate change the document once a frame, and those out of sight seldom", LIMIT, async () => {
  const ROUNDS = 120;
  const symbols = Array.from({ length: 200 }, (_, index) => `COIN${String(index).padStart(3, "0")}-USDT`);
  const startMs = Math.floor(Date.now() / 86_400_000) * 86_400_000;
  const day = (symbol, close) => ({ symbol, interval: "1d", start_ms: startMs, open: "100.00", high: "400.00", low: "1.00", close, volume: "10", count: 1 });
  await onPage(browser, {}, async ({ gateway, page }) => {
    for (const symbol of symbols) gateway.publish(day(symbol, "100.00"));
    await waitFor(page, "a row of each", (count) => document.querySelectorAll('#prices tr[data-symbol^="COIN"]').length === count, symbols.length);
    await page.evaluate(() => {
      const seen = { frames: 0, batches: 0, writes: 0 };
      window.seen = seen;
      const onFrame = () => {
        seen.frames += 1;
        requestAnimationFrame(onFrame);
      };
      requestAnimationFrame(onFrame);
      new MutationObserver((changes) => {
        const writes = changes.filter(({ target }) => (target.parentElement ?? target).closest(".price") !== null || target.className === "price").length;
        if (writes > 0) seen.batches += 1;
        seen.writes += writes;
      }).observe(document.querySelector("#prices tbody"), { subtree: true, childList: true, characterData: true });
    });
    for (let round = 1; round <= ROUNDS; round += 1) {
      for (const symbol of symbols) gateway.publish(day(symbol, (100 + round / 100).toFixed(2)));
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    }
    const last = (100 + ROUNDS / 100).toFixed(2);
    await waitFor(page, "the last price of each", (price) => [...document.querySelectorAll('#prices tr[data-symbol^="COIN"] .price')].every((cell) => cell.textContent === price), last);
    const { frames, batches, writes } = await page.evaluate(() => window.seen);
    // Rows that come into sight are written by themselves.
    assert.ok(batches <= frames + 1, `${batches} batches of writes in ${frames} frames`);
    assert.ok(writes < (ROUNDS * symbols.length) / 2, `${writes} writes of ${ROUNDS * symbols.length} prices`);
    console.log(`# ${ROUNDS * symbols.length} prices: ${writes} writes in ${batches} batches and ${frames} frames`);
  });
});

test("times can be read in the reader's own zone, and the choice is kept", LIMIT, async () => {
  await onPage(
    browser,
    {},
    async ({ page }) => {
      const shownHour = () => page.locator("#bar-time").textContent().then((text) => Number(text.slice(11, 13)));
      const utc = await shownHour();
      await page.locator("#zone").click();
      await waitFor(page, "the zone", says, { selector: "#zone", pattern: "^Local UTC\\+5:30$" });
      const local = await shownHour();
      assert.ok([5, 6].includes((local - utc + 24) % 24), `${utc} and ${local}`);
      await page.reload();
      await waitFor(page, "the zone again", says, { selector: "#zone", pattern: "^Local UTC\\+5:30$" });
    },
    { context: { timezoneId: "Asia/Kolkata" } },
  );
});
