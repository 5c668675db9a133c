/** The page: connects the client to the chart, the price table and the badge. */
import { BarSeries } from "./bar-series.js";
import { Chart } from "./chart.js";
import { type Bar, KlinecastClient, pauseWhileHidden } from "./client.js";
import { percentChange, percentText } from "./decimal-text.js";
import { ageText, badge, exchangeName, exchangeOf, feedAgeMs, feedState, type KnownFeed, simulatedExchanges } from "./feed-health.js";
import { choiceFromHash, gatewayAddress, hashOf } from "./page-address.js";
import { direction, PriceTable, setText } from "./price-table.js";
import { barTopic, offerOf, timeframeMs, TIMEFRAMES_DEFAULT } from "./timeframe.js";

/** Intervals kept per series. */
const INTERVALS_MAX = 2_000;
/** Series kept in memory; the one not used for longest goes first. */
const SERIES_MAX = 24;
/** Feeds shown; a deployment has a handful. */
const FEEDS_MAX = 32;
const LIST_INTERVAL_MS = 20_000;
const AGES_INTERVAL_MS = 500;
/** Enough for a live chart; everything that changed in between comes in one frame. */
const FRAMES_PER_SECOND_MAX = 10;
/** With fewer bars than this the page says that it is still collecting. */
const COLLECTED_BARS = 20;
/** With fewer bars than this it says so in the middle of the chart. */
const SPARSE_BARS = 5;
/** Clock samples are compared within this span. */
const CLOCK_SPAN_MS = 30_000;
const CLOCK_SAMPLE_INTERVAL_MS = 250;
const SYMBOLS_PREFERRED = ["BTC-USD", "BTC-USDT", "ETH-USD", "ETH-USDT"];

function part<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`index.html has no #${id}`);
  return element as T;
}

const address = gatewayAddress(window.location);
const client = new KlinecastClient({ url: address.url, maxRate: FRAMES_PER_SECOND_MAX });
const feeds = new Map<string, KnownFeed>();
const seriesByTopic = new Map<string, BarSeries>();
const chartElement = part("chart");
let hoveredMs: number | null = null;
const chart = new Chart(chartElement, (startMs) => {
  hoveredMs = startMs;
  scheduleDraw();
});
const table = new PriceTable(part<HTMLTableElement>("prices"), part<HTMLInputElement>("filter"), part("prices-note"), (chosen) =>
  choose(chosen, timeframe),
);

const asked = choiceFromHash(window.location.hash);
let symbol: string | null = asked.symbol;
// A first visit shows what moves: the shortest timeframe.
let timeframe = asked.timeframe ?? "1s";
let timeframes: readonly string[] = TIMEFRAMES_DEFAULT;
/** The table shows the bars of this timeframe: the day, or the longest that is offered. */
let tableTimeframe = "1d";
let subscribed: readonly string[] = [];
let drawScheduled = false;
let clockOffsetMs: number | null = null;
let clockSamples: { atMs: number; offsetMs: number }[] = [];

client.on("status", (status) => {
  if (status.state === "open") refreshList();
  showHealth();
});
client.on("bar", (bar) => {
  sampleClock(bar.published_us / 1_000);
  seriesByTopic.get(bar.topic)?.apply(bar);
  if (bar.interval === tableTimeframe) {
    table.apply(bar);
    if (symbol === null) chooseFirst();
  }
});
client.on("feed", (feed) => {
  sampleClock(feed.at_ms);
  if (feeds.size < FEEDS_MAX || feeds.has(feed.exchange)) {
    feeds.set(feed.exchange, { status: feed, receivedAtMs: performance.now() });
  }
  showHealth();
});
client.on("frame", scheduleDraw);
client.on("error", (error) => console.warn(`gateway: ${error.code}: ${error.message}`));

client.sub(["system:feed:*"]);
client.sub([barTopic(tableTimeframe, "*")]);
showTimeframes();
if (symbol !== null) choose(symbol, timeframe);
if (address.isForeign) {
  const banner = part("gateway-banner");
  banner.textContent = `Data from another gateway: ${address.url}`;
  banner.hidden = false;
}
client.connect();
pauseWhileHidden(client, document);
window.addEventListener("online", () => client.retryNow());
window.addEventListener("hashchange", () => {
  const wanted = choiceFromHash(window.location.hash);
  if (wanted.symbol !== null) choose(wanted.symbol, wanted.timeframe ?? timeframe);
});
window.setInterval(() => {
  if (client.status.state === "open" && !client.isPaused) refreshList();
}, LIST_INTERVAL_MS);
window.setInterval(() => {
  if (document.hidden) return;
  table.refreshAges(clockOffsetMs ?? 0);
  showHealth();
}, AGES_INTERVAL_MS);
chartElement.addEventListener("keydown", (event) => {
  const move = CHART_KEYS[event.key];
  if (move === undefined) return;
  event.preventDefault();
  move();
});
part("skip").addEventListener("click", (event) => {
  // Not by fragment: the hash belongs to symbol and timeframe.
  event.preventDefault();
  part("prices-heading").focus();
});

const CHART_KEYS: Readonly<Record<string, () => void>> = {
  ArrowLeft: () => chart.scrollBy(-5),
  ArrowRight: () => chart.scrollBy(5),
  "+": () => chart.zoomBy(1.25),
  "=": () => chart.zoomBy(1.25),
  "-": () => chart.zoomBy(0.8),
  End: () => chart.scrollToNow(),
};

/** Shows `chosenSymbol` in `chosenTimeframe` and subscribes what that needs. */
function choose(chosenSymbol: string, chosenTimeframe: string): void {
  symbol = chosenSymbol;
  timeframe = chosenTimeframe;
  const hash = hashOf(symbol, timeframe);
  if (window.location.hash !== hash) window.history.replaceState(null, "", hash);
  table.add([symbol]);
  table.choose(symbol);
  subscribeChart();
  showTimeframes();
  hoveredMs = null;
  chart.show(seriesOf(barTopic(timeframe, symbol)), timeframeMs(timeframe) ?? 60_000);
  scheduleDraw();
}

function chooseFirst(): void {
  const known = table.symbols;
  const first = SYMBOLS_PREFERRED.find((preferred) => known.includes(preferred)) ?? [...known].sort()[0];
  if (first !== undefined) choose(first, timeframes.includes(timeframe) ? timeframe : (timeframes[0] ?? timeframe));
}

/**
 * The shown timeframe comes at full rate; the symbol's other ones collect closed bars only,
 * so that changing the timeframe shows what has passed since.
 */
function subscribeChart(): void {
  if (symbol === null) return;
  const shown = barTopic(timeframe, symbol);
  // The table's pattern already brings the day's bars of every symbol.
  const collected = timeframes.filter((other) => other !== timeframe && other !== tableTimeframe).map((other) => barTopic(other, symbol ?? ""));
  client.unsub(subscribed.filter((topic) => topic !== shown && !collected.includes(topic)));
  client.sub([shown], { recent: true, whenPaused: "closed_only" });
  client.sub(collected, { closedOnly: true, recent: true, whenPaused: "closed_only" });
  subscribed = [shown, ...collected];
  for (const other of timeframes) seriesOf(barTopic(other, symbol));
}

/** The series of `topic`, made if needed; the table's latest bar is a first one for the day's. */
function seriesOf(topic: string): BarSeries {
  const known = seriesByTopic.get(topic);
  const series = known ?? new BarSeries(INTERVALS_MAX);
  seriesByTopic.delete(topic);
  seriesByTopic.set(topic, series);
  if (known === undefined && symbol !== null && topic === barTopic(tableTimeframe, symbol)) {
    const bar = table.bar(symbol);
    if (bar !== null) series.apply(bar);
  }
  if (seriesByTopic.size > SERIES_MAX) {
    const oldest = seriesByTopic.keys().next().value;
    if (oldest !== undefined) seriesByTopic.delete(oldest);
  }
  return series;
}

function refreshList(): void {
  client.list().then(
    (list) => {
      const offer = offerOf(list.topics);
      if (offer.timeframes.length > 0 && offer.timeframes.join() !== timeframes.join()) {
        timeframes = offer.timeframes;
        const longest = timeframes[timeframes.length - 1] ?? "1d";
        const wanted = timeframes.includes("1d") ? "1d" : longest;
        if (wanted !== tableTimeframe) {
          client.unsub([barTopic(tableTimeframe, "*")]);
          tableTimeframe = wanted;
          client.sub([barTopic(tableTimeframe, "*")]);
        }
        showTimeframes();
        if (symbol !== null) choose(symbol, timeframes.includes(timeframe) ? timeframe : (timeframes[0] ?? timeframe));
      }
      table.add(offer.symbols);
      if (symbol === null) chooseFirst();
      scheduleDraw();
    },
    // A lost or silent connection shows in the badge, and `list` is asked again.
    () => {},
  );
}

function scheduleDraw(): void {
  if (drawScheduled) return;
  drawScheduled = true;
  // Hidden pages get no animation frames: whatever arrives meanwhile is drawn once, on return.
  requestAnimationFrame(() => {
    drawScheduled = false;
    chart.draw();
    table.flush();
    showBars();
  });
}

function showBars(): void {
  if (symbol === null) return;
  const series = seriesOf(barTopic(timeframe, symbol));
  const last = series.last;
  const price = last?.close ?? table.bar(symbol)?.close ?? null;
  setText(part("symbol"), symbol);
  setText(part("last-price"), price ?? "–");
  document.title = price === null ? `${symbol} · Klinecast` : `${price} ${symbol} · Klinecast`;
  const day = table.bar(symbol);
  const percent = day === null ? null : percentChange(day.open, day.close);
  const change = part("day-change");
  setText(change, percent === null ? "" : percentText(percent));
  change.className = `day-change ${direction(percent)}`;

  const shown = (hoveredMs === null ? undefined : series.at(hoveredMs)) ?? last;
  showReadout(shown);
  chartElement.dataset["bars"] = String(series.length);
  chartElement.dataset["topic"] = barTopic(timeframe, symbol);
  chartElement.setAttribute(
    "aria-label",
    last === undefined ? `${symbol} ${timeframe} chart, no bars yet` : `${symbol} ${timeframe} chart, ${series.length} bars, last close ${last.close}`,
  );
  const collecting = part("collecting");
  collecting.hidden = series.length >= SPARSE_BARS;
  collecting.classList.toggle("sparse", series.length > 0);
  setText(part("collecting-title"), `Collecting ${timeframe} bars of ${symbol}${series.length > 0 ? `: ${series.length} so far` : ""}`);
  setText(
    part("collecting-text"),
    client.status.state === "open" ? "The chart fills from live bars as they arrive." : "Waiting for the gateway.",
  );
  setText(
    part("bar-note"),
    series.length === 0 ? "" : series.length < COLLECTED_BARS ? `Collecting: ${series.length} bar${series.length === 1 ? "" : "s"} so far` : `${series.length} bars`,
  );
}

function showReadout(bar: Bar | undefined): void {
  setText(part("bar-time"), bar === undefined ? "–" : timeText(bar));
  setText(part("bar-open"), bar?.open ?? "–");
  setText(part("bar-high"), bar?.high ?? "–");
  setText(part("bar-low"), bar?.low ?? "–");
  setText(part("bar-close"), bar?.close ?? "–");
  setText(part("bar-volume"), bar?.volume ?? "–");
  setText(part("bar-count"), bar === undefined ? "–" : String(bar.count));
  const state = part("bar-state");
  setText(state, bar === undefined ? "–" : stateText(bar));
  state.dataset["quality"] = bar?.quality ?? "";
  part("readout").dataset["direction"] = bar === undefined ? "flat" : Number(bar.close) >= Number(bar.open) ? "up" : "down";
}

function timeText(bar: Bar): string {
  const iso = new Date(bar.start_ms).toISOString();
  const lengthMs = bar.end_ms - bar.start_ms;
  if (lengthMs >= 86_400_000) return iso.slice(0, 10);
  return `${iso.slice(0, 10)} ${iso.slice(11, lengthMs < 60_000 ? 19 : 16)}`;
}

function stateText(bar: Bar): string {
  const quality = bar.quality === "complete" ? "" : ` · ${bar.quality}`;
  const revision = bar.rev > 0 ? ` · revised ${bar.rev}×` : "";
  return bar.state + quality + revision;
}

function showTimeframes(): void {
  const group = part("timeframes");
  const offered = timeframes.includes(timeframe) ? timeframes : [...timeframes, timeframe];
  const known = [...group.children] as HTMLButtonElement[];
  if (known.map((button) => button.textContent).join() !== offered.join()) {
    group.replaceChildren(
      ...offered.map((each) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = each;
        button.addEventListener("click", () => {
          if (symbol === null) timeframe = each;
          else choose(symbol, each);
          showTimeframes();
        });
        return button;
      }),
    );
  }
  for (const button of group.children) button.setAttribute("aria-pressed", String(button.textContent === timeframe));
}

function showHealth(): void {
  const nowMs = performance.now();
  const known = [...feeds.values()];
  const own = badge(client.status, known, symbol === null ? null : exchangeOf(symbol), nowMs);
  const element = part("badge");
  if (element.dataset["state"] !== own.state) element.dataset["state"] = own.state;
  if (element.title !== own.detail) element.title = own.detail;
  setText(part("badge-label"), own.label);
  setText(part("badge-age"), own.ageMs === null ? "" : ageText(own.ageMs));

  showFeeds(known, nowMs);
  const simulated = simulatedExchanges(known);
  const simBanner = part("sim-banner");
  simBanner.hidden = simulated.length === 0;
  setText(
    simBanner,
    simulated.length === known.length
      ? "Simulated data: these prices come from Klinecast's exchange simulator, not from a market."
      : `Simulated data: the prices of ${simulated.map(exchangeName).join(", ")} come from Klinecast's exchange simulator, not from a market.`,
  );
  const stopped = part("stopped-banner");
  stopped.hidden = client.status.state !== "stopped";
  setText(stopped, `Disconnected: ${client.status.why ?? "refused"}. The page does not try again by itself; reload it to try once more.`);
}

function showFeeds(known: readonly KnownFeed[], nowMs: number): void {
  const list = part("feeds");
  const isOpen = client.status.state === "open";
  const sorted = [...known].sort((a, b) => (a.status.exchange < b.status.exchange ? -1 : 1));
  while (list.children.length > sorted.length) list.lastElementChild?.remove();
  for (const [index, feed] of sorted.entries()) {
    let item = list.children[index] as HTMLLIElement | undefined;
    if (item === undefined) {
      item = document.createElement("li");
      for (const className of ["exchange", "mode", "age"]) {
        const span = document.createElement("span");
        span.className = className;
        item.append(span);
      }
      list.append(item);
    }
    const state = isOpen ? feedState(feed, nowMs) : "reconnecting";
    item.dataset["state"] = state;
    const [name, mode, age] = item.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
    setText(name, exchangeName(feed.status.exchange));
    setText(mode, feed.status.mode === "sim" ? "SIM" : "");
    setText(age, isOpen ? ageText(feedAgeMs(feed, nowMs)) : "");
    const title = `${feed.status.exchange}: ${state}, ${feed.status.connections} connections, ${feed.status.symbols} symbols`;
    if (item.title !== title) item.title = title;
  }
}

/** The smallest difference seen lately is the one with the least delay on the way. */
function sampleClock(serverMs: number): void {
  const atMs = performance.now();
  const offsetMs = Date.now() - serverMs;
  const latest = clockSamples[clockSamples.length - 1];
  const isCrowded = latest !== undefined && atMs - latest.atMs < CLOCK_SAMPLE_INTERVAL_MS && latest.offsetMs <= offsetMs;
  if (!Number.isFinite(offsetMs) || isCrowded) return;
  clockSamples = clockSamples.filter((sample) => atMs - sample.atMs < CLOCK_SPAN_MS && sample.offsetMs < offsetMs);
  clockSamples.push({ atMs, offsetMs });
  clockOffsetMs = clockSamples[0]?.offsetMs ?? null;
}
