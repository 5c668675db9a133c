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
  type ISeriesApi,
  type Time,
  type UTCTimestamp,
  type WhitespaceData,
} from "lightweight-charts";
import type { BarSeries } from "./bar-series.js";
import type { Bar, BarQuality } from "./client.js";
import { fractionDigits } from "./decimal-text.js";

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
const VOLUME_ALPHA = "59";
const PRECISION_MAX = 12;
/** Volume takes the lowest fifth of the pane. */
const VOLUME_TOP_MARGIN = 0.8;

export class Chart {
  readonly #chart: IChartApi;
  readonly #bars: ISeriesApi<"Candlestick">;
  readonly #volumes: ISeriesApi<"Histogram">;
  #series: BarSeries | null = null;
  #precision = -1;

  /** `onHover` gets the start of the bar under the crosshair in milliseconds, or null. */
  constructor(container: HTMLElement, onHover: (startMs: number | null) => void) {
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
      timeScale: { borderColor: "#1f2735", timeVisible: true, rightOffset: 4, barSpacing: 9, minBarSpacing: 1 },
      localization: { locale: "en-GB" },
    });
    this.#bars = this.#chart.addSeries(CandlestickSeries, {
      upColor: PLAIN.up,
      downColor: PLAIN.down,
      borderVisible: false,
      wickUpColor: PLAIN.up,
      wickDownColor: PLAIN.down,
      priceLineColor: "#5b6880",
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
  }

  /** Shows `series` from now on. */
  show(series: BarSeries, timeframeMs: number): void {
    this.#series = series;
    this.#precision = -1;
    series.forgetDrawing();
    this.#chart.timeScale().applyOptions({ secondsVisible: timeframeMs < 60_000, timeVisible: timeframeMs < 86_400_000 });
    this.draw();
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
    this.#chart.timeScale().scrollToRealTime();
  }

  /** Brings the canvas up to date with the series. */
  draw(): void {
    const series = this.#series;
    if (series === null) return;
    const drawing = series.takeDrawing();
    if (drawing.kind === "nothing") return;
    this.#widenPrecision(drawing.kind === "updates" ? drawing.updates.map((update) => update.bar) : series.bars);
    if (drawing.kind === "updates") {
      for (const { bar, historical } of drawing.updates) {
        this.#bars.update(candlestick(bar), historical);
        this.#volumes.update(volumeColumn(bar), historical);
      }
      return;
    }
    const time = this.#chart.timeScale();
    const viewed = time.scrollPosition() < -1 ? time.getVisibleRange() : null;
    this.#bars.setData(
      drawing.slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : candlestick(bar))),
    );
    this.#volumes.setData(
      drawing.slots.map(({ start_ms, bar }) => (bar === null ? whitespace(start_ms) : volumeColumn(bar))),
    );
    // Who has scrolled back keeps looking at the same time although older bars came or went.
    const firstMs = series.bars[0]?.start_ms;
    if (viewed !== null && firstMs !== undefined && Number(viewed.to) * 1_000 > firstMs) time.setVisibleRange(viewed);
  }

  /** Moves the view by `bars` (negative: into the past). */
  scrollBy(bars: number): void {
    const time = this.#chart.timeScale();
    time.scrollToPosition(time.scrollPosition() + bars, false);
  }

  /** Widens (above 1) or narrows the bars. */
  zoomBy(factor: number): void {
    const time = this.#chart.timeScale();
    time.applyOptions({ barSpacing: Math.min(60, Math.max(1, time.options().barSpacing * factor)) });
  }

  scrollToNow(): void {
    this.#chart.timeScale().scrollToRealTime();
  }

  /** The axis shows as many decimals as the prices sent so far. */
  #widenPrecision(bars: readonly Bar[]): void {
    let digits = this.#precision;
    for (const bar of bars) {
      digits = Math.max(digits, fractionDigits(bar.open), fractionDigits(bar.high), fractionDigits(bar.low), fractionDigits(bar.close));
    }
    digits = Math.min(digits, PRECISION_MAX);
    if (digits === this.#precision || digits < 0) return;
    this.#precision = digits;
    this.#bars.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
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
