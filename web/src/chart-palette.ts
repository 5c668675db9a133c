/** The colours of the chart in each theme: canvases do not read the style sheet. index.html's legend has the same. */
import type { BarQuality } from "klinecast";
import type { Theme } from "./theme-switch.js";

export interface Tint {
  readonly up: string;
  readonly down: string;
}

export interface ChartPalette {
  readonly plain: Tint;
  /** Bars that say less than the whole truth stand out. */
  readonly tints: Readonly<Partial<Record<BarQuality, Tint>>>;
  readonly text: string;
  readonly line: string;
  readonly grid: string;
  readonly separatorHover: string;
  readonly crosshair: string;
  readonly crosshairLabel: string;
}

/** White text must be readable on the label. */
export const PRICE_LINE: Tint = { up: "#17806b", down: "#c23b49" };

export const PALETTES: Readonly<Record<Theme, ChartPalette>> = {
  dark: {
    plain: { up: "#26b99a", down: "#ef5f6b" },
    tints: {
      gap: { up: "#f5b83d", down: "#c98612" },
      partial: { up: "#a594ff", down: "#7a68e0" },
      filled: { up: "#6b778c", down: "#6b778c" },
    },
    text: "#8b96a9",
    line: "#1f2735",
    grid: "#171d28",
    separatorHover: "#24324a",
    crosshair: "#4b566b",
    crosshairLabel: "#2a3447",
  },
  light: {
    plain: { up: "#0f9077", down: "#d6404e" },
    tints: {
      gap: { up: "#c98612", down: "#99640a" },
      partial: { up: "#7a68e0", down: "#5a47c4" },
      filled: { up: "#8490a4", down: "#8490a4" },
    },
    text: "#55617a",
    line: "#d8dee8",
    grid: "#edf0f5",
    separatorHover: "#c6d0e0",
    crosshair: "#8490a4",
    crosshairLabel: "#55617a",
  },
};
