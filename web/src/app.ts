/** The page: connects the client to the chart, the price table and the badge. */
import { AccessForm } from "./access-form.js";
import { BarSeries } from "./bar-series.js";
import { Chart } from "./chart.js";
import { chartNotice } from "./chart-notice.js";
import { KlinecastClient, pauseWhileHidden, type ProtocolError } from "./client.js";
import { ClockOffset } from "./clock-offset.js";
import { percentChange, percentText } from "./decimal-text.js";
import { ageText, type Badge, badge, type BadgeState, feedState } from "./feed-health.js";
import { FeedList } from "./feed-list.js";
import { Feeds } from "./feeds.js";
import { showForeignGateway, showNoticeBar } from "./notice-bar.js";
import { choiceFromHash, gatewayAddress, hashOf } from "./page-address.js";
import { part, setText } from "./page-part.js";
import type { PageState } from "./page-state.js";
import { PriceDigits } from "./price-digits.js";
import { direction } from "./price-row.js";
import { PriceTable, SYMBOLS_MAX } from "./price-table.js";
import { Readout } from "./readout.js";
import { barTopic, nearestTimeframe, offerOf, timeframeMs, TIMEFRAMES_DEFAULT } from "./timeframe.js";
import { ZoneSwitch } from "./zone-switch.js";

/** Intervals kept per series. */
const INTERVALS_MAX = 2_000;
/** Series kept in memory; the one not used for longest goes first. */
const SERIES_MAX = 24;
const LIST_INTERVAL_MS = 20_000;
const AGES_INTERVAL_MS = 500;
/** Enough for a live chart; everything that changed in between comes in one frame. */
const FRAMES_PER_SECOND_MAX = 10;
/** With fewer bars than this the page says that it is still collecting. */
const COLLECTED_BARS = 20;
/** Lost bars of a topic are asked for again at most this often. */
const REFETCH_INTERVAL_MS = 10_000;
/** The device says that it is offline, and nothing has come for this long: so it is. */
const OFFLINE_SILENCE_MS = 1_000;
const SYMBOLS_PREFERRED = ["BTC-USD", "BTC-USDT", "ETH-USD", "ETH-USDT"];
/** Below this width the table lies under the chart; style.css has the same. */
const isNarrow = window.matchMedia("(max-width: 1000px)");
const isMotionReduced = window.matchMedia("(prefers-reduced-motion: reduce)");

const asked = choiceFromHash(window.location.hash);
const state: PageState = {
  symbol: asked.symbol,
  // A first visit shows what moves: the shortest timeframe.
  timeframe: asked.timeframe ?? "1s",
  timeframes: TIMEFRAMES_DEFAULT,
  tableTimeframe: "1d",
  isListed: false,
  subscribed: [],
  refusal: null,
  choiceNote: "",
  hoveredMs: null,
  isDrawScheduled: false,
};

const access = new AccessForm();
const address = gatewayAddress(window.location);
const client = new KlinecastClient({
  url: address.url,
  maxRate: FRAMES_PER_SECOND_MAX,
  ...(access.token === null ? {} : { token: access.token }),
});
const feeds = new Feeds();
const feedList = new FeedList(part("feeds"));
const seriesByTopic = new Map<string, BarSeries>();
const refetchedAtMs = new Map<string, number>();
const clock = new ClockOffset();
const digits = new PriceDigits(SYMBOLS_MAX);
const readout = new Readout(digits);
const chartElement = part("chart");
const chart = new Chart(
  chartElement,
  (startMs) => {
    state.hoveredMs = startMs;
    scheduleDraw();
  },
  (isBack) => (part("to-now").hidden = !isBack),
);
const zoneSwitch = new ZoneSwitch(part("zone"), (zone) => {
  chart.setZone(zone);
  scheduleDraw();
});
const table = new PriceTable(
  {
    table: part<HTMLTableElement>("prices"),
    search: part<HTMLInputElement>("filter"),
    note: part("prices-note"),
    empty: part("prices-empty"),
    partialNote: part("partial-note"),
  },
  digits,
  (chosen) => {
    choose(chosen, state.timeframe, "push");
    if (isNarrow.matches) showChart();
  },
);

client.on("status", (status) => {
  if (status.state === "open") refreshList();
  if (status.state === "stopped" && (status.closeCode === 4003 || status.closeCode === 4005)) access.ask(status.why ?? "no reason given");
  showHealth();
});
client.on("bar", (bar) => {
  clock.sample(bar.published_us / 1_000);
  digits.see(bar);
  seriesByTopic.get(bar.topic)?.apply(bar);
  if (bar.interval === state.tableTimeframe) {
    table.apply(bar);
    if (state.symbol === null) chooseFirst();
  }
});
client.on("skipped", ({ topic, count, beforeMs }) => {
  const series = seriesByTopic.get(topic);
  if (series === undefined) return;
  series.noteLost(count, beforeMs);
  const nowMs = performance.now();
  if (nowMs - (refetchedAtMs.get(topic) ?? Number.NEGATIVE_INFINITY) < REFETCH_INTERVAL_MS) return;
  refetchedAtMs.set(topic, nowMs);
  client.refetch([topic]);
});
client.on("feed", (feed) => {
  clock.sample(feed.at_ms);
  feeds.take(feed, performance.now());
  showHealth();
});
client.on("frame", scheduleDraw);
client.on("error", onError);

client.sub(["system:feed:*"]);
client.sub([barTopic(state.tableTimeframe, "*")]);
showTimeframes();
chart.setZone(zoneSwitch.zone);
if (state.symbol !== null) choose(state.symbol, state.timeframe, "replace");
if (address.isForeign) showForeignGateway(address.url);
client.connect();
pauseWhileHidden(client, document);
window.addEventListener("online", () => {
  client.retryNow();
  showHealth();
});
window.addEventListener("offline", () => window.setTimeout(showHealth, OFFLINE_SILENCE_MS + 10));
window.addEventListener("hashchange", () => {
  const wanted = choiceFromHash(window.location.hash);
  if (wanted.symbol !== null) choose(wanted.symbol, wanted.timeframe ?? state.timeframe, "replace");
});
window.setInterval(() => {
  if (client.status.state === "open" && !client.isPaused) refreshList();
}, LIST_INTERVAL_MS);
window.setInterval(() => {
  if (document.hidden) return;
  table.refreshAges(clock.offsetMs, stateOfExchange);
  showHealth();
  showNotice();
}, AGES_INTERVAL_MS);
chartElement.addEventListener("keydown", (event) => {
  const move = CHART_KEYS[event.key];
  if (move === undefined) return;
  event.preventDefault();
  move();
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  part("filter").focus();
});
part("skip").addEventListener("click", (event) => {
  // Not by fragment: the hash belongs to symbol and timeframe.
  event.preventDefault();
  part("prices-heading").focus();
});
part("to-now").addEventListener("click", () => chart.scrollToNow());
part("to-chart").addEventListener("click", showChart);
part("timeframes").addEventListener("click", (event) => {
  const each = (event.target as Element).closest("button")?.textContent;
  if (each == null) return;
  if (state.symbol === null) state.timeframe = each;
  else choose(state.symbol, each, "replace");
  showTimeframes();
});
// On phones a line with symbol and price stays in sight while the table is read.
new IntersectionObserver(([head]) => (part("to-chart").hidden = head?.isIntersecting !== false)).observe(part("chart-head"));

const CHART_KEYS: Readonly<Record<string, () => void>> = {
  ArrowLeft: () => chart.scrollBy(-5),
  ArrowRight: () => chart.scrollBy(5),
  "+": () => chart.zoomBy(1.25),
  "=": () => chart.zoomBy(1.25),
  "-": () => chart.zoomBy(0.8),
  Home: () => chart.scrollToStart(),
  End: () => chart.scrollToNow(),
};

/** Shows `chosenSymbol` in `chosenTimeframe` and subscribes what that needs; "push" makes Back return. */
function choose(chosenSymbol: string, chosenTimeframe: string, history: "push" | "replace"): void {
  if (chosenSymbol !== state.symbol || chosenTimeframe !== state.timeframe) state.choiceNote = "";
  state.symbol = chosenSymbol;
  state.timeframe = offered(chosenTimeframe);
  state.refusal = null;
  const hash = hashOf(chosenSymbol, state.timeframe);
  if (window.location.hash !== hash) {
    if (history === "push") window.history.pushState(null, "", hash);
    else window.history.replaceState(null, "", hash);
  }
  table.choose(chosenSymbol);
  subscribeChart();
  showTimeframes();
  state.hoveredMs = null;
  chartElement.setAttribute("aria-label", `${chosenSymbol} chart, ${state.timeframe} bars`);
  chart.show(seriesOf(barTopic(state.timeframe, chosenSymbol)), timeframeMs(state.timeframe) ?? 60_000, digits.of(chosenSymbol));
  scheduleDraw();
}

/** `wanted` if the gateway has it or has not said yet what it has, else the nearest that it has. */
function offered(wanted: string): string {
  if (!state.isListed || state.timeframes.includes(wanted)) return wanted;
  const nearest = nearestTimeframe(wanted, state.timeframes);
  state.choiceNote = `This gateway has no ${wanted} bars, so the chart shows ${nearest}.`;
  return nearest;
}

function chooseFirst(): void {
  const known = table.symbols;
  const first = SYMBOLS_PREFERRED.find((preferred) => known.includes(preferred)) ?? [...known].sort()[0];
  if (first !== undefined) choose(first, state.timeframe, "replace");
}

/**
 * The shown timeframe comes at full rate; the symbol's other ones collect closed bars only,
 * so that changing the timeframe shows what has passed since.
 */
function subscribeChart(): void {
  const { symbol, timeframe, timeframes, tableTimeframe } = state;
  if (symbol === null) return;
  const shown = barTopic(timeframe, symbol);
  // The table's pattern already brings the day's bars of every symbol.
  const collected = timeframes.filter((other) => other !== timeframe && other !== tableTimeframe).map((other) => barTopic(other, symbol));
  client.unsub(state.subscribed.filter((topic) => topic !== shown && !collected.includes(topic)));
  client.sub([shown], { recent: true, whenPaused: "closed_only" });
  client.sub(collected, { closedOnly: true, recent: true, whenPaused: "closed_only" });
  state.subscribed = [shown, ...collected];
  for (const other of timeframes) seriesOf(barTopic(other, symbol));
}

/** The series of `topic`, made if needed; the table's latest bar is a first one for the day's. */
function seriesOf(topic: string): BarSeries {
  const { symbol } = state;
  const known = seriesByTopic.get(topic);
  const series = known ?? new BarSeries(INTERVALS_MAX);
  seriesByTopic.delete(topic);
  seriesByTopic.set(topic, series);
  if (known === undefined && symbol !== null && topic === barTopic(state.tableTimeframe, symbol)) {
    const bar = table.bar(symbol);
    if (bar !== null) series.apply(bar);
  }
  if (seriesByTopic.size > SERIES_MAX) {
    const oldest = seriesByTopic.keys().next().value;
    if (oldest !== undefined) {
      seriesByTopic.delete(oldest);
      refetchedAtMs.delete(oldest);
    }
  }
  return series;
}

function refreshList(): void {
  client.list().then(
    (list) => {
      const offer = offerOf(list.topics);
      state.isListed = !list.truncated;
      const isFirst = table.symbols.length === 0;
      if (offer.timeframes.length > 0 && offer.timeframes.join() !== state.timeframes.join()) {
        state.timeframes = offer.timeframes;
        const longest = state.timeframes[state.timeframes.length - 1] ?? "1d";
        const wanted = state.timeframes.includes("1d") ? "1d" : longest;
        if (wanted !== state.tableTimeframe) {
          client.unsub([barTopic(state.tableTimeframe, "*")]);
          state.tableTimeframe = wanted;
          client.sub([barTopic(state.tableTimeframe, "*")]);
        }
        showTimeframes();
        if (state.symbol !== null) choose(state.symbol, state.timeframe, "replace");
      } else if (state.symbol !== null && offer.timeframes.length > 0 && offered(state.timeframe) !== state.timeframe) {
        choose(state.symbol, state.timeframe, "replace");
      }
      table.add(offer.symbols);
      if (state.symbol === null) chooseFirst();
      else table.choose(state.symbol);
      table.flush();
      if (isFirst && !isNarrow.matches) table.revealChosen();
      scheduleDraw();
    },
    // A lost or silent connection shows in the badge, and `list` is asked again.
    () => {},
  );
}

/** What a person can do something about is shown; the rest is for the console. */
function onError(error: ProtocolError): void {
  if (error.code === "auth_required") {
    access.ask(null);
    // Nothing will come without a token, and the gateway would end the connection in half a minute.
    client.close();
    return;
  }
  // It ends the connection, upon which the form is shown.
  if (error.code === "invalid_token") return;
  const topic = state.symbol === null ? null : barTopic(state.timeframe, state.symbol);
  if (topic !== null && error.topics.includes(topic)) {
    state.refusal = { topic, message: error.message };
    scheduleDraw();
    return;
  }
  // Topics of timeframes that are not offered need no mention: they were not asked for by hand,
  // and the gateway's list brings those that are.
  const own = [...state.subscribed, barTopic(state.tableTimeframe, "*")];
  if (error.code === "bad_topic" && error.topics.every((each) => own.includes(each))) return;
  console.warn(`gateway: ${error.code}: ${error.message}`);
}

function scheduleDraw(): void {
  if (state.isDrawScheduled) return;
  state.isDrawScheduled = true;
  // Hidden pages get no animation frames: whatever arrives meanwhile is drawn once, on return.
  requestAnimationFrame(() => {
    state.isDrawScheduled = false;
    if (state.symbol !== null) chart.draw(digits.of(state.symbol));
    table.flush();
    showBars();
    showNotice();
  });
}

function showBars(): void {
  const { symbol, timeframe, hoveredMs } = state;
  if (symbol === null) return;
  const series = seriesOf(barTopic(timeframe, symbol));
  const { last } = series;
  const price = last?.close ?? table.bar(symbol)?.close ?? null;
  const priceText = price === null ? "–" : digits.text(symbol, price);
  setText(part("symbol"), symbol);
  setText(part("last-price"), priceText);
  setText(part("to-chart-symbol"), symbol);
  setText(part("to-chart-price"), priceText);
  document.title = price === null ? `${symbol} · Klinecast` : `${priceText} ${symbol} · Klinecast`;
  const day = table.bar(symbol);
  const percent = day === null ? null : percentChange(day.open, day.close);
  const change = part("day-change");
  setText(change, percent === null ? "" : percentText(percent));
  change.className = `day-change ${direction(percent)}`;
  setText(part("day-note"), day === null ? "" : day.quality === "partial" ? "partial day" : "today");
  part("day-note").classList.toggle("partial", day?.quality === "partial");

  readout.show((hoveredMs === null ? undefined : series.at(hoveredMs)) ?? last, zoneSwitch.zone);
  chartElement.dataset["bars"] = String(series.length);
  chartElement.dataset["topic"] = barTopic(timeframe, symbol);
  const count = `${series.length} bar${series.length === 1 ? "" : "s"}`;
  setText(part("bar-note"), series.length === 0 ? "" : series.length < COLLECTED_BARS ? `Collecting: ${count} so far` : count);
  const lost = part("lost-note");
  lost.hidden = series.lostCount === 0;
  if (series.lostCount > 0) setText(lost, `${series.lostCount} not received or not corrected: the gateway no longer has them`);
}

function showNotice(): void {
  const { symbol, timeframe, refusal } = state;
  const topic = symbol === null ? null : barTopic(timeframe, symbol);
  const notice = chartNotice({
    connection: client.status,
    feeds: feeds.all(),
    nowMs: performance.now(),
    symbol,
    timeframe,
    barCount: topic === null ? 0 : (seriesByTopic.get(topic)?.length ?? 0),
    listed: state.isListed ? table.symbols : null,
    refusal: refusal !== null && refusal.topic === topic ? refusal.message : null,
  });
  const element = part("collecting");
  element.hidden = notice === null || access.isNeeded;
  if (notice === null) return;
  element.classList.toggle("sparse", Number(chartElement.dataset["bars"]) > 0);
  setText(part("collecting-title"), notice.title);
  setText(part("collecting-text"), notice.text);
}

function showTimeframes(): void {
  const group = part("timeframes");
  const known = [...group.children] as HTMLButtonElement[];
  if (known.map((button) => button.textContent).join() !== state.timeframes.join()) {
    group.replaceChildren(
      ...state.timeframes.map((each) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = each;
        return button;
      }),
    );
  }
  for (const button of group.children) button.setAttribute("aria-pressed", String(button.textContent === state.timeframe));
}

function showChart(): void {
  part("chart-panel").scrollIntoView({ behavior: isMotionReduced.matches ? "auto" : "smooth", block: "start" });
}

/** The state of an exchange's feed; of an unknown exchange that of the connection. */
function stateOfExchange(exchange: string | null): BadgeState {
  if (client.status.state !== "open" || isOffline()) return "reconnecting";
  const feed = exchange === null ? undefined : feeds.get(exchange);
  return feed === undefined ? "live" : feedState(feed, performance.now());
}

/** Browsers say "offline" of networks, which a gateway on this very machine does not need. */
function isOffline(): boolean {
  return !window.navigator.onLine && performance.now() - client.lastFrameAtMs > OFFLINE_SILENCE_MS;
}

function currentBadge(nowMs: number): Badge {
  if (access.isNeeded) return { state: "stale", label: "Token needed", detail: "The gateway sends nothing without a token.", ageMs: null };
  if (isOffline()) return { state: "reconnecting", label: "Offline", detail: "This device has no network; prices are the last ones received.", ageMs: null };
  const exchange = state.symbol === null ? null : table.exchangeOf(state.symbol);
  return badge(client.status, feeds.all(), exchange, nowMs);
}

function showHealth(): void {
  const nowMs = performance.now();
  const known = feeds.all();
  const own = currentBadge(nowMs);
  const element = part("badge");
  if (element.dataset["state"] !== own.state) element.dataset["state"] = own.state;
  if (document.body.dataset["state"] !== own.state) document.body.dataset["state"] = own.state;
  if (element.title !== own.detail) element.title = own.detail;
  setText(part("badge-label"), own.label);
  setText(part("badge-age"), own.ageMs === null || (own.state !== "live" && table.symbols.length === 0) ? "" : ageText(own.ageMs));

  feedList.show(known, client.status.state === "open", (exchange) => table.hasBarsOf(exchange), nowMs);
  showNoticeBar({ connection: client.status, feeds: known, badge: own, choiceNote: state.choiceNote, isTokenNeeded: access.isNeeded });
}
