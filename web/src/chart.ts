/** Draws one BarSeries with lightweight-charts: bars above, volume in a pane of its own below. */
import type { Bar } from "klinecast";
import {
  type CandlestickData,
  CandlestickSeries,
  ColorType,
  createChart,
  CrosshairMode,
  type HistogramData,
  HistogramSeries,
  type IChartApi,
  type IPriceLine,
  type ISeriesApi,
  LineStyle,
  TickMarkType,
  type Time,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { BarSeries, Drawing, Span } from "./bar-series.js";
import { type ChartPalette, PALETTES, PRICE_LINE } from "./chart-palette.js";
import { groupedText } from "./decimal-text.js";
import type { Theme } from "./theme-switch.js";
import { TimeAxis } from "./time-axis.js";
import { timeText, type Zone } from "./time-text.js";

const VOLUME_ALPHA = "59";
/** Scrolled back by less than this many bars, the view still counts as now. */
const SCROLLED_BACK_BARS = 1;
/** Bars' widths between the latest bar and the axis. */
const RIGHT_OFFSET_BARS = 4;
/** Heights of the panes of prices and volume, as parts of both. */
const PANE_PARTS = [4, 1] as const;
/** A bar's width at first, with its distance to the next, in pixels. */
const BAR_SPACING = 9;
/** Bars may be as narrow as this, in pixels. */
const BAR_SPACING_MIN = 0.5;
/** A view at the latest bars also asks for this many bars to its left. */
const VIEW_BARS_MIN = 200;

/** What the chart is to show: the latest bars of a length of time, or a span of the past. */
export type Fit = { readonly kind: "latest"; readonly lengthMs: number } | ({ readonly kind: "span" } & Span);

export interface ChartEvents {
  /** The start of the bar under the crosshair in milliseconds, or null. */
  readonly onHover: (startMs: number | null) => void;
  /** Whether the view has left the latest bar. */
  readonly onScrolled: (isBack: boolean) => void;
  /** The view has changed, by whatever. */
  readonly onView: () => void;
  /** A person has moved the view: it need no longer fit anything. */
  readonly onMoved: () => void;
}

export class Chart {
  readonly #chart: IChartApi;
  readonly #bars: ISeriesApi<"Candlestick">;
  readonly #volumes: ISeriesApi<"Histogram">;
  #series: BarSeries | null = null;
  readonly #events: ChartEvents;
  #axis = new TimeAxis([], 60_000);
  #intervalMs = 60_000;
  #fit: Fit | null = null;
  /** Whether there are no bars before the first. */
  #isComplete = false;
  #digits = -1;
  #priceLine: IPriceLine | null = null;
  #isScrolledBack = false;
  /** Where keys have moved the view to; the library knows it only after it has drawn. */
  #position: number | null = null;
  #palette: ChartPalette;

  constructor(container: HTMLElement, theme: Theme, events: ChartEvents) {
    this.#events = events;
    this.#palette = PALETTES[theme];
    this.#chart = createChart(container, {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: "transparent" },
        fontFamily: getComputedStyle(container).fontFamily,
        fontSize: 12,
        // The logo injects a <style> element, which the page's CSP forbids; the footer has the attribution.
        attributionLogo: false,
        panes: { enableResize: false },
      },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { scaleMargins: { top: 0.1, bottom: 0.08 } },
      timeScale: { timeVisible: true, rightOffset: RIGHT_OFFSET_BARS, barSpacing: BAR_SPACING, minBarSpacing: BAR_SPACING_MIN },
      localization: { locale: "en-GB" },
      // A finger that moves up or down scrolls the page, not the prices.
      handleScroll: { vertTouchDrag: false },
    });
    this.setZone("utc");
    this.#bars = this.#chart.addSeries(CandlestickSeries, {
      borderVisible: false,
      // The library's own line is at the last bar in sight; see #showPrice.
      lastValueVisible: false,
      priceLineVisible: false,
    });
    const volumeOptions = { priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false } as const;
    this.#volumes = this.#chart.addSeries(HistogramSeries, volumeOptions, 1);
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.1, bottom: 0 } });
    this.#colour();
    this.#chart.panes().forEach((pane, index) => pane.setStretchFactor(PANE_PARTS[index] ?? 1));
    this.#chart.subscribeCrosshairMove((event) => {
      events.onHover(event.point === undefined || typeof event.time !== "number" ? null : event.time * 1_000);
    });
    const moved = (): void => this.#leaveFit();
    container.addEventListener("wheel", moved, { passive: true });
    container.addEventListener("touchmove", moved, { passive: true });
    container.addEventListener("pointermove", (event) => event.buttons !== 0 && moved());
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange(() => {
      const isBack = this.#isBack;
      if (isBack !== this.#isScrolledBack) {
        this.#isScrolledBack = isBack;
        events.onScrolled(isBack);
      }
      events.onView();
    });
  }

  get #isBack(): boolean {
    return this.#chart.timeScale().scrollPosition() < -SCROLLED_BACK_BARS;
  }

  /** The times in sight; null before there are any. */
  get visible(): Span | null {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (range === null) return null;
    const [fromMs, toMs] = [this.#axis.timeAt(Math.ceil(range.from)), this.#axis.timeAt(Math.floor(range.to))];
    return fromMs === null || toMs === null ? null : { fromMs, toMs: toMs + this.#intervalMs };
  }

  /** The times whose bars the view needs: what is in sight, and as much again before it. */
  get wanted(): Span | null {
    const { visible } = this;
    if (visible === null) return null;
    const before = Math.max(visible.toMs - visible.fromMs, VIEW_BARS_MIN * this.#intervalMs);
    return { fromMs: visible.fromMs - before, toMs: visible.toMs + this.#intervalMs };
  }

  /** Pixels that bars have beside each other. */
  get width(): number {
    return this.#chart.timeScale().width();
  }

  /** Shows `fit` now and while bars come in, until a person moves the view. */
  fit(fit: Fit | null): void {
    this.#fit = fit;
    this.#applyFit();
  }

  /** Whether the first bar of the series is the first that there is. */
  setComplete(isComplete: boolean): void {
    if (isComplete === this.#isComplete) return;
    this.#isComplete = isComplete;
    this.#applyFit();
  }

  #leaveFit(): void {
    if (this.#fit === null) return;
    this.#fit = null;
    this.#events.onMoved();
  }

  #applyFit(): void {
    const fit = this.#fit;
    const { length } = this.#axis;
    const lastMs = this.#axis.timeAt(length - 1);
    if (fit === null || lastMs === null) return;
    const endMs = lastMs + this.#intervalMs;
    const fromMs = fit.kind === "span" ? fit.fromMs : endMs - fit.lengthMs;
    const from = Number.isFinite(fromMs) ? (this.#axis.placeOf(fromMs) ?? 0) : 0;
    const to = fit.kind === "span" ? (this.#axis.placeOf(fit.toMs) ?? length) - 1 : length - 1 + RIGHT_OFFSET_BARS;
    const least = this.#isComplete || !Number.isFinite(fromMs) ? 0 : Number.NEGATIVE_INFINITY;
    if (to - from > 1) this.#chart.timeScale().setVisibleLogicalRange({ from: Math.max(from, least) - 0.5, to: to + 0.5 });
  }

  /** Shows the colours of `theme` from now on. */
  setTheme(theme: Theme): void {
    this.#palette = PALETTES[theme];
    this.#colour();
    const series = this.#series;
    if (series === null) return;
    // Bars have their colours with them.
    series.forgetDrawing();
    this.draw(this.#digits);
  }

  #colour(): void {
    const { plain, text, line, grid, separatorHover, crosshair, crosshairLabel } = this.#palette;
    const cross = { color: crosshair, labelBackgroundColor: crosshairLabel };
    this.#chart.applyOptions({
      layout: { textColor: text, panes: { separatorColor: line, separatorHoverColor: separatorHover } },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      crosshair: { vertLine: cross, horzLine: cross },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.#bars.applyOptions({ upColor: plain.up, downColor: plain.down, wickUpColor: plain.up, wickDownColor: plain.down });
  }

  /** Times are shown in `zone` from now on. */
  setZone(zone: Zone): void {
    this.#chart.applyOptions({
      localization: { timeFormatter: (time: Time) => timeText(Number(time) * 1_000, zone, "second") },
      timeScale: { tickMarkFormatter: (time: Time, type: TickMarkType) => tickText(Number(time) * 1_000, type, zone) },
    });
  }

  /** Shows `series` from now on, as `fit` says; null: the latest bars in a comfortable width. */
  show(series: BarSeries, timeframeMs: number, digits: number, fit: Fit | null): void {
    this.#series = series;
    this.#digits = -1;
    this.#intervalMs = timeframeMs;
    const hadFit = this.#fit !== null;
    this.#fit = null;
    this.#isComplete = false;
    series.forgetDrawing();
    const time = this.#chart.timeScale();
    time.applyOptions({ secondsVisible: timeframeMs < 60_000, timeVisible: timeframeMs < 86_400_000 });
    // The places of another series say nothing about this one's.
    this.#axis = new TimeAxis([], timeframeMs);
    this.draw(digits);
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
    if (hadFit) time.applyOptions({ barSpacing: BAR_SPACING });
    this.scrollToNow();
    this.fit(fit);
  }

  /** Brings the canvas up to date with the series, whose prices have `digits` decimals. */
  draw(digits: number): void {
    const series = this.#series;
    if (series === null) return;
    const drawing = series.takeDrawing();
    if (drawing.kind === "nothing") return;
    this.#setDigits(digits);
    this.#showPrice(series.last);
    if (drawing.kind === "rebuild") {
      this.#rebuild(drawing);
      return;
    }
    for (const { bar, historical } of drawing.updates) {
      this.#bars.update(candlestick(bar, this.#palette), historical);
      this.#volumes.update(volumeColumn(bar, this.#palette), historical);
      this.#axis.extend(bar.start_ms);
    }
  }

  #rebuild({ slots }: Extract<Drawing, { kind: "rebuild" }>): void {
    const time = this.#chart.timeScale();
    const range = this.#isBack && this.#axis.length > 0 ? time.getVisibleLogicalRange() : null;
    const anchor = range === null ? 0 : Math.max(0, Math.ceil(range.from));
    const anchorMs = range === null ? null : this.#axis.timeAt(anchor);
    this.#axis = new TimeAxis(slots.map(({ start_ms }) => start_ms), this.#intervalMs);
    this.#bars.setData(slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : candlestick(bar, this.#palette))));
    this.#volumes.setData(slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : volumeColumn(bar, this.#palette))));
    if (this.#fit !== null) {
      this.#applyFit();
      return;
    }
    if (this.#position !== null) {
      time.scrollToPosition(this.#position, false);
      return;
    }
    // Who has scrolled back keeps looking at the same bars although others came or went before and after.
    const place = anchorMs === null ? null : this.#axis.placeOf(anchorMs);
    if (range === null || place === null) return;
    const from = place - anchor + range.from;
    time.setVisibleLogicalRange({ from, to: from + range.to - range.from });
  }

  /** Moves the view by `bars` (negative: into the past). */
  scrollBy(bars: number): void {
    this.#moveTo((this.#position ?? this.#chart.timeScale().scrollPosition()) + bars);
  }

  #moveTo(position: number): void {
    this.#leaveFit();
    if (this.#position === null) requestAnimationFrame(() => (this.#position = null));
    this.#position = position;
    this.#chart.timeScale().scrollToPosition(position, false);
  }

  /** Widens (above 1) or narrows the bars. */
  zoomBy(factor: number): void {
    this.#leaveFit();
    const time = this.#chart.timeScale();
    time.applyOptions({ barSpacing: Math.min(60, Math.max(BAR_SPACING_MIN, time.options().barSpacing * factor)) });
  }

  scrollToNow(): void {
    this.#moveTo(RIGHT_OFFSET_BARS);
  }

  /** Shows the first bars. */
  scrollToStart(): void {
    const time = this.#chart.timeScale();
    const shown = time.getVisibleLogicalRange();
    this.#leaveFit();
    if (shown !== null) time.setVisibleLogicalRange({ from: -1, to: shown.to - shown.from - 1 });
  }

  /** The axis names the true last price, also where the view ends before it. */
  #showPrice(last: Bar | undefined): void {
    if (last === undefined) {
      if (this.#priceLine !== null) this.#bars.removePriceLine(this.#priceLine);
      this.#priceLine = null;
      return;
    }
    const options = { price: Number(last.close), color: isUp(last) ? PRICE_LINE.up : PRICE_LINE.down };
    if (this.#priceLine !== null) this.#priceLine.applyOptions(options);
    else this.#priceLine = this.#bars.createPriceLine({ ...options, lineWidth: 1, lineStyle: LineStyle.Dotted, axisLabelVisible: true });
  }

  #setDigits(digits: number): void {
    if (digits === this.#digits) return;
    this.#digits = digits;
    const formatter = (price: number): string => groupedText(price.toFixed(digits));
    this.#bars.applyOptions({ priceFormat: { type: "custom", formatter, minMove: 10 ** -digits } });
  }
}

function tickText(unixMs: number, type: TickMarkType, zone: Zone): string {
  const text = timeText(unixMs, zone, "second");
  switch (type) {
    case TickMarkType.Year:
      return text.slice(0, 4);
    case TickMarkType.Month:
      return text.slice(0, 7);
    case TickMarkType.DayOfMonth:
      return text.slice(5, 10);
    case TickMarkType.Time:
      return text.slice(11, 16);
    case TickMarkType.TimeWithSeconds:
      return text.slice(11);
  }
}

function candlestick(bar: Bar, { tints }: ChartPalette): CandlestickData<Time> {
  const tint = tints[bar.quality];
  const color = tint === undefined ? null : isUp(bar) ? tint.up : tint.down;
  return {
    time: seconds(bar.start_ms),
    open: Number(bar.open),
    high: Number(bar.high),
    low: Number(bar.low),
    close: Number(bar.close),
    ...(color === null ? {} : { color, borderColor: color, wickColor: color }),
  };
}

function volumeColumn(bar: Bar, { plain, tints }: ChartPalette): HistogramData<Time> {
  const tint = tints[bar.quality] ?? plain;
  return {
    time: seconds(bar.start_ms),
    value: Number(bar.volume),
    color: (isUp(bar) ? tint.up : tint.down) + VOLUME_ALPHA,
  };
}

function whitespace(startMs: number): WhitespaceData<Time> {
  return { time: seconds(startMs) };
}

function isUp(bar: Bar): boolean {
  return Number(bar.close) >= Number(bar.open);
}

function seconds(unixMs: number): UTCTimestamp {
  return Math.floor(unixMs / 1_000) as UTCTimestamp;
}
