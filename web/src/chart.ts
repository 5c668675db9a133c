/** Draws one BarSeries with lightweight-charts: bars above, volume below. */
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
import type { BarSeries } from "./bar-series.js";
import type { Bar, BarQuality } from "./client.js";
import { groupedText } from "./decimal-text.js";
import { timeText, type Zone } from "./time-text.js";

interface Tint {
  readonly up: string;
  readonly down: string;
}

const PLAIN: Tint = { up: "#26b99a", down: "#ef5f6b" };
/** Bars that say less than the whole truth stand out; the legend on the page names the same colours. */
const TINTS: Readonly<Partial<Record<BarQuality, Tint>>> = {
  gap: { up: "#f5b83d", down: "#c98612" },
  partial: { up: "#a594ff", down: "#7a68e0" },
  filled: { up: "#6b778c", down: "#6b778c" },
};
/** White text must be readable on the label. */
const PRICE_LINE: Tint = { up: "#17806b", down: "#c23b49" };
const VOLUME_ALPHA = "59";
/** Scrolled back by less than this many bars, the view still counts as now. */
const SCROLLED_BACK_BARS = 1;
/** Bars' widths between the latest bar and the axis. */
const RIGHT_OFFSET_BARS = 4;
/** Volume takes the lowest fifth of the pane. */
const VOLUME_TOP_MARGIN = 0.8;

export class Chart {
  readonly #chart: IChartApi;
  readonly #bars: ISeriesApi<"Candlestick">;
  readonly #volumes: ISeriesApi<"Histogram">;
  #series: BarSeries | null = null;
  #digits = -1;
  #priceLine: IPriceLine | null = null;
  #isScrolledBack = false;
  /** Where keys have moved the view to; the library knows it only after it has drawn. */
  #position: number | null = null;

  /**
   * `onHover` gets the start of the bar under the crosshair in milliseconds, or null; `onScrolled`
   * whether the view has left the latest bar.
   */
  constructor(container: HTMLElement, onHover: (startMs: number | null) => void, onScrolled: (isBack: boolean) => void) {
    this.#chart = createChart(container, {
      autoSize: true,
      layout: {
        background: { type: ColorType.Solid, color: "transparent" },
        textColor: "#8b96a9",
        fontFamily: getComputedStyle(container).fontFamily,
        fontSize: 12,
        // The logo injects a <style> element, which the page's CSP forbids; the footer has the attribution.
        attributionLogo: false,
      },
      grid: { vertLines: { color: "#171d28" }, horzLines: { color: "#171d28" } },
      crosshair: {
        mode: CrosshairMode.Normal,
        vertLine: { color: "#4b566b", labelBackgroundColor: "#2a3447" },
        horzLine: { color: "#4b566b", labelBackgroundColor: "#2a3447" },
      },
      rightPriceScale: { borderColor: "#1f2735", scaleMargins: { top: 0.12, bottom: 0.24 } },
      timeScale: { borderColor: "#1f2735", timeVisible: true, rightOffset: RIGHT_OFFSET_BARS, barSpacing: 9, minBarSpacing: 1 },
      localization: { locale: "en-GB" },
      // A finger that moves up or down scrolls the page, not the prices.
      handleScroll: { vertTouchDrag: false },
    });
    this.setZone("utc");
    this.#bars = this.#chart.addSeries(CandlestickSeries, {
      upColor: PLAIN.up,
      downColor: PLAIN.down,
      borderVisible: false,
      wickUpColor: PLAIN.up,
      wickDownColor: PLAIN.down,
      // The library's own line is at the last bar in sight; see #showPrice.
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: VOLUME_TOP_MARGIN, bottom: 0 } });
    this.#chart.subscribeCrosshairMove((event) => {
      onHover(event.point === undefined || typeof event.time !== "number" ? null : event.time * 1_000);
    });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange(() => {
      const isBack = this.#chart.timeScale().scrollPosition() < -SCROLLED_BACK_BARS;
      if (isBack === this.#isScrolledBack) return;
      this.#isScrolledBack = isBack;
      onScrolled(isBack);
    });
  }

  /** Times are shown in `zone` from now on. */
  setZone(zone: Zone): void {
    this.#chart.applyOptions({
      localization: { timeFormatter: (time: Time) => timeText(Number(time) * 1_000, zone, "second") },
      timeScale: { tickMarkFormatter: (time: Time, type: TickMarkType) => tickText(Number(time) * 1_000, type, zone) },
    });
  }

  /** Shows `series` from now on. */
  show(series: BarSeries, timeframeMs: number, digits: number): void {
    this.#series = series;
    this.#digits = -1;
    series.forgetDrawing();
    this.#chart.timeScale().applyOptions({ secondsVisible: timeframeMs < 60_000, timeVisible: timeframeMs < 86_400_000 });
    this.draw(digits);
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
    this.scrollToNow();
  }

  /** Brings the canvas up to date with the series, whose prices have `digits` decimals. */
  draw(digits: number): void {
    const series = this.#series;
    if (series === null) return;
    const drawing = series.takeDrawing();
    if (drawing.kind === "nothing") return;
    this.#setDigits(digits);
    this.#showPrice(series.last);
    if (drawing.kind === "updates") {
      for (const { bar, historical } of drawing.updates) {
        this.#bars.update(candlestick(bar), historical);
        this.#volumes.update(volumeColumn(bar), historical);
      }
      return;
    }
    const time = this.#chart.timeScale();
    const viewed = time.scrollPosition() < -SCROLLED_BACK_BARS ? time.getVisibleRange() : null;
    this.#bars.setData(
      drawing.slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : candlestick(bar))),
    );
    this.#volumes.setData(
      drawing.slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : volumeColumn(bar))),
    );
    // Who has scrolled back keeps looking at the same time although older bars came or went.
    const firstMs = series.bars[0]?.start_ms;
    if (this.#position !== null) time.scrollToPosition(this.#position, false);
    else if (viewed !== null && firstMs !== undefined && Number(viewed.to) * 1_000 > firstMs) time.setVisibleRange(viewed);
  }

  /** Moves the view by `bars` (negative: into the past). */
  scrollBy(bars: number): void {
    this.#moveTo((this.#position ?? this.#chart.timeScale().scrollPosition()) + bars);
  }

  #moveTo(position: number): void {
    if (this.#position === null) requestAnimationFrame(() => (this.#position = null));
    this.#position = position;
    this.#chart.timeScale().scrollToPosition(position, false);
  }

  /** Widens (above 1) or narrows the bars. */
  zoomBy(factor: number): void {
    const time = this.#chart.timeScale();
    time.applyOptions({ barSpacing: Math.min(60, Math.max(1, time.options().barSpacing * factor)) });
  }

  scrollToNow(): void {
    this.#moveTo(RIGHT_OFFSET_BARS);
  }

  /** Shows the first bars. */
  scrollToStart(): void {
    const time = this.#chart.timeScale();
    const shown = time.getVisibleLogicalRange();
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

function candlestick(bar: Bar): CandlestickData<Time> {
  const tint = TINTS[bar.quality];
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

function volumeColumn(bar: Bar): HistogramData<Time> {
  const tint = TINTS[bar.quality] ?? PLAIN;
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
