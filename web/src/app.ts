/** The page: connects the client to the chart, the price table and the badge. */
import { History, KlinecastClient, parseWidth, pauseWhileHidden, type ProtocolError, sourceOf } from "klinecast";
import { AccessForm } from "./access-form.js";
import type { Span } from "./bar-series.js";
import { Chart, type Fit } from "./chart.js";
import { ChartData, type Shown } from "./chart-data.js";
import { showChartHead } from "./chart-head.js";
import { chartNotice } from "./chart-notice.js";
import { listenForChartKeys } from "./chart-keys.js";
import { ClockOffset } from "./clock-offset.js";
import { DayOpens } from "./day-open.js";
import { Feeds } from "./feeds.js";
import { showForeignGateway } from "./notice-bar.js";
import { type Choice, choiceFromHash, gatewayAddress } from "./page-address.js";
import { OFFLINE_SILENCE_MS, PageHealth } from "./page-health.js";
import { part, setText } from "./page-part.js";
import type { PageState } from "./page-state.js";
import { PriceDigits } from "./price-digits.js";
import { PriceTable, SYMBOLS_MAX } from "./price-table.js";
import { listenForPageKeys } from "./page-keys.js";
import { Readout } from "./readout.js";
import { SidePanels } from "./side-panels.js";
import { ThemeSwitch } from "./theme-switch.js";
import { rangeMs, TIME_RANGES, type TimeRange, widthForLength } from "./time-range.js";
import { barTopic, nearestTimeframe, offerOf, timeframeMs, TIMEFRAMES_DEFAULT } from "./timeframe.js";
import { ViewLink } from "./view-link.js";
import { fill, WidthMenu } from "./width-menu.js";
import { ZoneSwitch } from "./zone-switch.js";

const LIST_INTERVAL_MS = 20_000;
const AGES_INTERVAL_MS = 500;
/** Enough for a live chart; everything that changed in between comes in one frame. */
const FRAMES_PER_SECOND_MAX = 10;
/** Bars that are asked for before the chart has any. */
const FIRST_BARS = 400;
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
  range: asked.span === null ? asked.range : null,
  span: asked.span,
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
const clock = new ClockOffset();
const digits = new PriceDigits(SYMBOLS_MAX);
const readout = new Readout(digits);
const chartElement = part("chart");
const theme = new ThemeSwitch(part("theme"), (chosen) => chart.setTheme(chosen));
const chart = new Chart(chartElement, theme.theme, {
  onHover: (startMs) => {
    state.hoveredMs = startMs;
    scheduleDraw();
  },
  onScrolled: (isBack) => (part("to-now").hidden = !isBack),
  onView: () => {
    link.writeSoon();
    updateHistory();
  },
  onMoved: () => {
    state.range = null;
    state.span = null;
    showRanges();
  },
});
const data = new ChartData(client, {
  token: access.token,
  isOwnServer: !address.isForeign,
  exchangeOf: (symbol) => table.exchangeOf(symbol),
  onChange: (target, bars) => {
    for (const bar of bars) digits.see(bar);
    const kind = data.historyState.kind;
    if (target.topic === shownTopic()) chart.setComplete(kind === "begin" || kind === "full");
    scheduleDraw();
    // A page that brought what the view lacked is followed by the next.
    if (kind !== "failed") updateHistory();
  },
});
const history = address.isForeign ? null : new History({ url: "", ...(access.token === null ? {} : { token: access.token }) });
const dayOpens = new DayOpens(history, (symbol) => table.dayKnown(symbol));
const zoneSwitch = new ZoneSwitch(part("zone"), asked.zone, (zone) => {
  chart.setZone(zone);
  panels.zoneChanged();
  link.write("replace");
  scheduleDraw();
});
const link = new ViewLink(part("link"), () => {
  const { symbol, timeframe, range, span } = state;
  if (symbol === null) return null;
  const isBack = !part("to-now").hidden;
  return { symbol, timeframe, range, zone: zoneSwitch.chosen, span: span ?? (isBack && range === null ? chart.visible : null) };
});
const widths = new WidthMenu((width) => {
  state.range = null;
  state.span = null;
  if (state.symbol === null) state.timeframe = width;
  else choose(state.symbol, width, "replace");
  showWidths();
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
  chooseInList,
  (day) => dayOpens.of(day, performance.now()),
);
const health = new PageHealth({ client, feeds, table, access, state });
const panels = new SidePanels({
  client,
  history,
  digits,
  zoneOf: () => zoneSwitch.zone,
  nowMs: () => clock.serverNowMs,
  onChoose: chooseInList,
  onDirty: scheduleDraw,
});

client.on("status", (status) => {
  if (status.state === "open") {
    data.reconnected();
    refreshList();
  }
  panels.statusChanged(status);
  if (status.state === "stopped" && (status.closeCode === 4003 || status.closeCode === 4005)) access.ask(status.why ?? "no reason given");
  health.show();
});
client.on("bar", (bar) => {
  clock.sample(bar.published_us / 1_000);
  digits.see(bar);
  data.apply(bar);
  if (bar.interval === state.tableTimeframe) {
    table.apply(bar);
    if (state.symbol === null) chooseFirst();
  }
});
client.on("skipped", ({ topic, count, beforeMs }) => data.skipped(topic, count, beforeMs));
client.on("feed", (feed) => {
  clock.sample(feed.at_ms);
  feeds.take(feed, performance.now());
  health.show();
});
client.on("frame", scheduleDraw);
client.on("error", onError);

client.sub(["system:feed:*"]);
client.sub([barTopic(state.tableTimeframe, "*")]);
showWidths();
showRanges();
chart.setZone(zoneSwitch.zone);
if (state.symbol !== null) choose(state.symbol, state.timeframe, "replace");
if (address.isForeign) showForeignGateway(address.url);
client.connect();
pauseWhileHidden(client, document);
window.addEventListener("online", () => {
  client.retryNow();
  health.show();
});
window.addEventListener("offline", () => window.setTimeout(() => health.show(), OFFLINE_SILENCE_MS + 10));
window.addEventListener("hashchange", () => follow(choiceFromHash(window.location.hash)));
window.setInterval(() => {
  if (client.status.state === "open" && !client.isPaused) refreshList();
}, LIST_INTERVAL_MS);
window.setInterval(() => {
  if (document.hidden) return;
  table.refreshAges(clock.offsetMs, (exchange) => health.ofExchange(exchange));
  health.show();
  showNotice();
  updateHistory();
}, AGES_INTERVAL_MS);
listenForChartKeys(chartElement, chart);
listenForPageKeys(() => panels.showMarkets());
part("to-now").addEventListener("click", () => chart.scrollToNow());
part("to-chart").addEventListener("click", showChart);
part("ranges").addEventListener("click", (event) => {
  const text = (event.target as Element).closest("button")?.textContent;
  const range = TIME_RANGES.find((each) => each === text?.toLowerCase() || each === text);
  if (range !== undefined) void chooseRange(range);
});
// On phones a line with symbol and price stays in sight while the table is read.
new IntersectionObserver(([head]) => (part("to-chart").hidden = head?.isIntersecting !== false)).observe(part("chart-head"));

/** A symbol was chosen in one of the lists. */
function chooseInList(chosen: string): void {
  choose(chosen, state.timeframe, "push");
  if (isNarrow.matches) showChart();
}

/** Shows `chosenSymbol` in `chosenTimeframe` and subscribes what that needs; "push" makes Back return. */
function choose(chosenSymbol: string, chosenTimeframe: string, history: "push" | "replace"): void {
  if (chosenSymbol !== state.symbol || chosenTimeframe !== state.timeframe) state.choiceNote = "";
  state.symbol = chosenSymbol;
  state.timeframe = offered(chosenTimeframe);
  state.refusal = null;
  table.choose(chosenSymbol);
  panels.choose(chosenSymbol);
  const series = data.show(shownNow(chosenSymbol));
  showWidths();
  showRanges();
  state.hoveredMs = null;
  chartElement.setAttribute("aria-label", `${chosenSymbol} chart, ${state.timeframe} bars`);
  chart.show(series, timeframeMs(state.timeframe) ?? 60_000, digits.of(chosenSymbol), fitNow());
  link.write(history);
  updateHistory();
  scheduleDraw();
}

function shownNow(symbol: string): Shown {
  const { timeframe, timeframes, tableTimeframe } = state;
  return { symbol, timeframe, timeframes, tableTimeframe, tableBar: table.bar(symbol) };
}

function shownTopic(): string | null {
  return state.symbol === null ? null : barTopic(state.timeframe, state.symbol);
}

/** What the chosen range or the address wants to have in sight; null: the latest bars. */
function fitNow(): Fit | null {
  if (state.span !== null) return { kind: "span", ...state.span };
  return state.range === null ? null : { kind: "latest", lengthMs: rangeMs(state.range) };
}

/** Shows `range` up to now, in a width that suits it. */
async function chooseRange(range: TimeRange): Promise<void> {
  const { symbol } = state;
  state.range = range;
  state.span = null;
  showRanges();
  if (symbol === null) return;
  const nowMs = clock.serverNowMs;
  const firstMs = range === "all" ? await data.firstStoredMs(symbol) : null;
  if (state.range !== range || state.symbol !== symbol) return;
  const lengthMs = firstMs === null ? rangeMs(range) : nowMs - firstMs;
  const width = Number.isFinite(lengthMs) ? widthForLength(lengthMs, state.timeframe, chart.width, state.timeframes) : state.timeframe;
  choose(symbol, width, "replace");
}

/** The address was changed by hand, or by Back. */
function follow(wanted: Choice): void {
  if (wanted.symbol === null) return;
  if (wanted.zone !== null && wanted.zone !== zoneSwitch.zone) {
    zoneSwitch.take(wanted.zone);
    chart.setZone(wanted.zone);
    panels.zoneChanged();
  }
  state.span = wanted.span;
  state.range = wanted.span === null ? wanted.range : null;
  choose(wanted.symbol, wanted.timeframe ?? state.timeframe, "replace");
}

/** The times whose bars the chart needs now. */
function wantedSpan(): Span {
  const nowMs = clock.serverNowMs;
  const fit = fitNow();
  // The chart cannot be scrolled to where it has no bars yet.
  if (fit?.kind === "span") return { fromMs: 2 * fit.fromMs - fit.toMs, toMs: fit.toMs };
  const view = chart.wanted ?? { fromMs: nowMs - FIRST_BARS * (timeframeMs(state.timeframe) ?? 60_000), toMs: nowMs };
  return fit?.kind === "latest" ? { fromMs: Math.min(view.fromMs, nowMs - fit.lengthMs), toMs: nowMs } : view;
}

function updateHistory(): void {
  if (state.symbol !== null) data.update({ ...wantedSpan(), serverNowMs: clock.serverNowMs }, performance.now());
}

/** `wanted` if bars of it can be made of what the gateway has, else the nearest that it has. */
function offered(wanted: string): string {
  const width = parseWidth(wanted);
  if (!state.isListed || state.timeframes.length === 0 || (width !== null && sourceOf(width, state.timeframes) !== null)) return wanted;
  const nearest = nearestTimeframe(wanted, state.timeframes);
  state.choiceNote = `This gateway has no ${wanted} bars, so the chart shows ${nearest}.`;
  return nearest;
}

function chooseFirst(): void {
  const known = table.symbols;
  const first = SYMBOLS_PREFERRED.find((preferred) => known.includes(preferred)) ?? [...known].sort()[0];
  if (first !== undefined) choose(first, state.timeframe, "replace");
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
        showWidths();
        // The view stays: another client may have asked for bars of another width.
        if (state.symbol !== null) data.show(shownNow(state.symbol));
      }
      if (state.symbol !== null && offer.timeframes.length > 0 && offered(state.timeframe) !== state.timeframe) {
        choose(state.symbol, state.timeframe, "replace");
      }
      table.add(offer.symbols);
      panels.list(offer.symbols);
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
  const topic = shownTopic();
  const isOfPanels = panels.refuse(error);
  if (isOfPanels) scheduleDraw();
  if (topic !== null && error.topics.includes(topic)) {
    // A gateway may have no bars of any width, or no more: they are made here.
    if (!["forbidden", "overloaded"].includes(error.code) && state.symbol !== null && data.refuse(topic, shownNow(state.symbol))) {
      choose(state.symbol, state.timeframe, "replace");
      return;
    }
    state.refusal = { topic, message: error.message };
    scheduleDraw();
    return;
  }
  // The answer about a topic that the page has left since needs no mention: the gateway's list brings
  // those there are.
  if (isOfPanels || error.code === "bad_topic") return;
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
    panels.flush();
    showBars();
    showNotice();
  });
}

function showBars(): void {
  const { symbol, hoveredMs } = state;
  const topic = shownTopic();
  const series = topic === null ? undefined : data.known(topic);
  if (symbol === null || topic === null || series === undefined) return;
  showChartHead({ symbol, series, day: table.bar(symbol), dayOpen: table.dayOpen(symbol), history: data.historyState, zone: zoneSwitch.zone }, digits);
  readout.show((hoveredMs === null ? undefined : series.at(hoveredMs)) ?? series.last, zoneSwitch.zone);
  chartElement.dataset["bars"] = String(series.length);
  chartElement.dataset["topic"] = topic;
  chartElement.dataset["fromMs"] = String(series.first?.start_ms ?? "");
  chartElement.dataset["toMs"] = String(series.last?.end_ms ?? "");
}

function showNotice(): void {
  const { symbol, timeframe, refusal } = state;
  const topic = shownTopic();
  const notice = chartNotice({
    connection: client.status,
    feeds: feeds.all(),
    nowMs: performance.now(),
    symbol,
    timeframe,
    barCount: topic === null ? 0 : (data.known(topic)?.length ?? 0),
    isLoading: data.historyState.kind === "loading",
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

function showWidths(): void {
  widths.show(state.timeframe, state.timeframes);
}

function showRanges(): void {
  fill(part("ranges"), TIME_RANGES, state.range);
}

function showChart(): void {
  part("chart-panel").scrollIntoView({ behavior: isMotionReduced.matches ? "auto" : "smooth", block: "start" });
}
