/** The chart's keys; index.html says them in words. */
import type { Chart } from "./chart.js";

export function listenForChartKeys(element: HTMLElement, chart: Chart): void {
  const moves: Readonly<Record<string, () => void>> = {
    ArrowLeft: () => chart.scrollBy(-5),
    ArrowRight: () => chart.scrollBy(5),
    "+": () => chart.zoomBy(1.25),
    "=": () => chart.zoomBy(1.25),
    "-": () => chart.zoomBy(0.8),
    Home: () => chart.scrollToStart(),
    End: () => chart.scrollToNow(),
  };
  element.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    move();
  });
}
