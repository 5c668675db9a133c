/**
 * End-to-end check of a running gateway's page in a real browser.
 *
 *   node test/page.mjs URL SCREENSHOT.png
 *
 * Needs Chromium: env CHROMIUM, else /usr/bin/chromium. Exits 0 if the page shows live data, else 1.
 */
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { CutProxy } from "./cut-proxy.mjs";

export const WAIT_MS = 60_000;

/** Starts the browser in the way that works in containers and without network. */
export function launchBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/** Opens `url` and collects everything that the page or the browser complains about. */
export async function openPage(browser, url, context = {}, prepare = async () => {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 860 }, ...context });
  const faults = [];
  page.on("console", (message) => {
    // What history answers instead of bars is told by the page, and by the browser besides.
    if (new URL(message.location().url || url).pathname.startsWith("/api/v1/")) return;
    // Warnings count only when they are the page's own; the pixel checks below cause the browser's.
    if (message.type() === "error" || message.text().startsWith("gateway:")) faults.push(`console ${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
  page.on("requestfailed", (request) => {
    // The page gives up by itself what it need not know any more.
    if (request.failure()?.errorText !== "net::ERR_ABORTED") faults.push(`request failed: ${request.url()}`);
  });
  page.on("request", (request) => {
    if (new URL(request.url()).host !== new URL(url).host) faults.push(`request to another host: ${request.url()}`);
  });
  await prepare(page);
  await page.goto(url, { waitUntil: "load" });
  return { page, faults };
}

/** Waits until `check`, run in the page with `argument`, is true; else fails naming `what`. */
export async function waitFor(page, what, check, argument = undefined, timeoutMs = WAIT_MS) {
  try {
    await page.waitForFunction(check, argument, { timeout: timeoutMs, polling: 100 });
  } catch {
    const seen = await page.evaluate(() => ({
      badge: document.querySelector("#badge")?.textContent?.replace(/\s+/g, " ").trim(),
      detail: document.querySelector("#badge")?.getAttribute("title"),
      bars: document.querySelector("#chart")?.getAttribute("data-bars"),
      topic: document.querySelector("#chart")?.getAttribute("data-topic"),
      fromMs: document.querySelector("#chart")?.getAttribute("data-from-ms"),
      toMs: document.querySelector("#chart")?.getAttribute("data-to-ms"),
      rows: document.querySelectorAll("#prices tbody tr").length,
    }));
    throw new Error(`waited ${timeoutMs / 1_000} s for ${what}; the page shows ${JSON.stringify(seen)}`);
  }
}

export function isLive() {
  return document.querySelector("#badge").dataset.state === "live";
}

/** Whether the chart has at least `bars` bars of `topic` (if given) and their colours are on its canvas. */
export function hasDrawnBars({ bars, topic }) {
  const chart = document.querySelector("#chart");
  if (Number(chart.dataset.bars) < bars || (topic !== undefined && chart.dataset.topic !== topic)) return false;
  // Of the dark theme, then of the light one.
  const colours = [[15, 144, 119], [214, 64, 78], [153, 100, 10], [90, 71, 196], [132, 144, 164], [38, 185, 154], [239, 95, 107], [245, 184, 61], [201, 134, 18], [165, 148, 255], [122, 104, 224], [107, 119, 140]];
  for (const canvas of chart.querySelectorAll("canvas")) {
    if (canvas.width < 200 || canvas.height < 100) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let pixels = 0;
    for (let index = 0; index < data.length; index += 4) {
      if (colours.some(([r, g, b]) => Math.abs(data[index] - r) < 4 && Math.abs(data[index + 1] - g) < 4 && Math.abs(data[index + 2] - b) < 4)) pixels += 1;
      if (pixels >= 12) return true;
    }
  }
  return false;
}

/** Rows whose price is there. */
export function hasPrices(count) {
  return [...document.querySelectorAll("#prices tbody .price")].filter((cell) => /\d/.test(cell.textContent)).length >= count;
}

/** Presses the timeframe's button and waits for its bars. */
export async function chooseTimeframe(page, timeframe, bars = 1) {
  await page.locator("#timeframes button", { hasText: new RegExp(`^${timeframe}$`) }).click();
  await waitFor(page, `bars of ${timeframe}`, hasDrawnBars, { bars, topic: `kline:${timeframe}:${await page.locator("#symbol").textContent()}` });
}

/** Takes out of `faults` what a browser reports by itself while the network is cut. */
export function forgiveCut(faults) {
  faults.splice(0, faults.length, ...faults.filter((fault) => !/WebSocket connection to|request failed: .*\/api\/v1\//.test(fault)));
}

/** Whether the chart has `bars` bars, each interval once. */
export function isWhole({ bars, intervalMs }) {
  const { bars: count, fromMs, toMs } = document.querySelector("#chart").dataset;
  return Number(count) >= bars && Number(count) * intervalMs === Number(toMs) - Number(fromMs);
}

/** Checks that the minutes reach back as far as what is stored of them; returns what there is to say of history. */
async function checkHistory(page, symbol) {
  const stored = await page.evaluate(async (name) => {
    const response = await fetch("/api/v1/symbols");
    if (!response.ok) return null;
    const { symbols } = await response.json();
    return symbols.find((each) => each.topic_symbol === name)?.widths.find(({ width }) => width === "1m") ?? {};
  }, symbol);
  if (stored === null) {
    await waitFor(page, "the words on history", () => /keeps no history/.test(document.querySelector("#history-note").textContent));
    return "no history";
  }
  if (stored.first_ms === undefined) return "nothing stored yet";
  const wantedMs = Math.max(stored.first_ms, stored.last_end_ms - 300 * 60_000);
  await waitFor(page, "the stored minutes", (ms) => Number(document.querySelector("#chart").dataset.fromMs) <= ms, wantedMs);
  return `minutes since ${new Date(wantedMs).toISOString()}`;
}

/** Cuts the network for some seconds: afterwards the chart lacks no second. */
async function checkCut(page, proxy) {
  const { toMs } = await page.evaluate(() => ({ ...document.querySelector("#chart").dataset }));
  proxy.cut();
  await waitFor(page, "reconnecting", () => document.querySelector("#badge").dataset.state === "reconnecting");
  await page.waitForFunction((ms) => Date.now() > ms, Number(toMs) + 4_000, { polling: 100 });
  proxy.mend();
  await waitFor(page, "the badge to say live again", isLive);
  await waitFor(page, "the seconds of the cut and after", (ms) => Number(document.querySelector("#chart").dataset.toMs) > ms, Number(toMs) + 5_000);
  await waitFor(page, "each second once", isWhole, { bars: 20, intervalMs: 1_000 });
}

async function check(address, screenshotPath) {
  const { protocol, hostname, port, pathname } = new URL(address);
  // A certificate would not fit the proxy.
  const proxy = protocol === "http:" ? new CutProxy(hostname, Number(port || 80)) : null;
  const url = proxy === null ? address : `http://127.0.0.1:${await proxy.start()}${pathname}`;
  const browser = await launchBrowser();
  try {
    const { page, faults } = await openPage(browser, url);
    await waitFor(page, "rows with prices in the table", hasPrices, 1);
    await waitFor(page, "the badge to say live", isLive);
    await waitFor(page, "bars on the chart", hasDrawnBars, { bars: 1 });

    const timeframes = await page.locator("#timeframes button").allTextContents();
    const first = await page.locator("#symbol").textContent();
    if (timeframes.includes("1s")) await chooseTimeframe(page, "1s", 3);
    const symbols = await page.locator("#prices tbody th button").allTextContents();
    const other = symbols.find((symbol) => symbol !== first);
    if (other !== undefined) {
      await page.locator("#prices tbody tr", { has: page.getByRole("button", { name: other, exact: true }) }).click();
      await waitFor(page, `bars of ${other}`, (name) => {
        const chart = document.querySelector("#chart");
        return document.querySelector("#symbol").textContent === name && Number(chart.dataset.bars) > 0 && document.title.includes(name);
      }, other);
      await page.locator("#prices tbody tr", { has: page.getByRole("button", { name: first, exact: true }) }).click();
    }
    let history = "";
    if (timeframes.includes("1m")) {
      await chooseTimeframe(page, "1m");
      history = await checkHistory(page, first);
    }
    if (timeframes.includes("1s")) {
      await chooseTimeframe(page, "1s", 20);
      if (proxy !== null) await checkCut(page, proxy);
      forgiveCut(faults);
    }
    await waitFor(page, "the badge to say live", isLive);
    const hash = new URL(page.url()).hash;
    if (!hash.includes(first) || !hash.includes("timeframe=")) throw new Error(`the address does not keep the choice: ${hash}`);
    if (screenshotPath !== undefined) await page.screenshot({ path: screenshotPath });
    if (faults.length > 0) throw new Error(`the browser complained:\n  ${faults.join("\n  ")}`);
    const badge = (await page.locator("#badge").textContent()).replace(/\s+/g, " ").trim();
    const isSim = await page.locator("#sim-banner").isVisible();
    console.log(`page ok: ${first}, timeframes ${timeframes.join(" ")}, ${symbols.length} symbols, badge "${badge}", ${history}${isSim ? ", simulated data banner" : ""}`);
  } finally {
    await browser.close();
    await proxy?.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [url, screenshotPath] = process.argv.slice(2);
  if (url === undefined) {
    console.error("usage: node test/page.mjs URL [SCREENSHOT.png]");
    process.exit(1);
  }
  try {
    await check(url, screenshotPath);
  } catch (error) {
    console.error(`page failed: ${error.message}`);
    process.exit(1);
  }
}
