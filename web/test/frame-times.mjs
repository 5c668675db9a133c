/**
 * Measures the frames of a running gateway's page in a real browser: how regular they are, and how busy the main thread is.
 *
 *   node test/frame-times.mjs URL [--seconds 20] [--slow 1] [--tab markets] [--width 1440] [--height 860]
 *
 * `--slow 4` slows the processor down by four. Prints one line of JSON. Needs Chromium: env CHROMIUM, else /usr/bin/chromium.
 */
import { parseArgs } from "node:util";
import { hasPrices, isLive, launchBrowser, openPage, waitFor } from "./page.mjs";

const SYMBOLS_MIN = 5;
/** Bars and rows of the start are not measured. */
const SETTLE_MS = 5_000;

/** Notes the time of each frame, each long task and the number of changes of the document in each frame. */
function watchFrames(ms) {
  return new Promise((resolve) => {
    const gapsMs = [];
    const longTasksMs = [];
    const observer = new PerformanceObserver((list) => longTasksMs.push(...list.getEntries().map(({ duration }) => duration)));
    observer.observe({ type: "longtask" });
    const startMs = performance.now();
    let lastMs = startMs;
    const onFrame = (nowMs) => {
      gapsMs.push(nowMs - lastMs);
      lastMs = nowMs;
      if (nowMs - startMs < ms) requestAnimationFrame(onFrame);
      else {
        observer.disconnect();
        resolve({ gapsMs: gapsMs.slice(1), longTasksMs });
      }
    };
    requestAnimationFrame(onFrame);
  });
}

function quantile(sorted, part) {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] * 10) / 10;
}

async function measure(url, { seconds, slow, tab, width, height }) {
  const browser = await launchBrowser();
  try {
    let frames = 0;
    let bytes = 0;
    const { page } = await openPage(browser, url, { viewport: { width, height } }, async (opened) => {
      opened.on("websocket", (socket) =>
        socket.on("framereceived", ({ payload }) => {
          frames += 1;
          bytes += payload.length;
        }),
      );
    });
    await waitFor(page, "rows with prices in the table", hasPrices, SYMBOLS_MIN);
    await waitFor(page, "the badge to say live", isLive);
    const session = await page.context().newCDPSession(page);
    await session.send("Emulation.setCPUThrottlingRate", { rate: slow });
    await page.locator(`#tab-${tab}`).click();
    await page.waitForTimeout(SETTLE_MS);
    await session.send("Performance.enable");
    const metrics = async () => Object.fromEntries((await session.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
    const before = await metrics();
    (frames = 0), (bytes = 0);
    const { gapsMs, longTasksMs } = await page.evaluate(watchFrames, seconds * 1_000);
    const after = await metrics();
    const sorted = gapsMs.toSorted((a, b) => a - b);
    const percent = (name) => Math.round(((after[name] - before[name]) / (after.Timestamp - before.Timestamp)) * 1_000) / 10;
    return {
      tab,
      slow,
      width,
      symbols: await page.locator("#prices tbody tr").count(),
      frames_s: Math.round((gapsMs.length / seconds) * 10) / 10,
      gap_ms: { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99), max: quantile(sorted, 1) },
      // Longer than one and a half frames at 60 a second.
      late_frames: gapsMs.filter((gap) => gap > 25).length,
      long_tasks: longTasksMs.length,
      main_thread_percent: percent("TaskDuration"),
      script_percent: percent("ScriptDuration"),
      style_percent: percent("RecalcStyleDuration"),
      layout_percent: percent("LayoutDuration"),
      messages_s: Math.round(frames / seconds),
      kilobytes_s: Math.round(bytes / seconds / 1_000),
    };
  } finally {
    await browser.close();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string", default: "20" }, slow: { type: "string", default: "1" }, tab: { type: "string", default: "markets" }, width: { type: "string", default: "1440" }, height: { type: "string", default: "860" } },
});
if (positionals[0] === undefined) {
  console.error("usage: node test/frame-times.mjs URL [--seconds 20] [--slow 1] [--tab markets] [--width 1440] [--height 860]");
  process.exit(1);
}
const { tab } = values;
const [seconds, slow, width, height] = [values.seconds, values.slow, values.width, values.height].map(Number);
console.log(JSON.stringify(await measure(positionals[0], { seconds, slow, tab, width, height })));
