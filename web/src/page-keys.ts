/** Keys and links of the whole page that lead to the table of prices. */
import { part } from "./page-part.js";

/** `showTable` opens the table's tab: what is hidden takes no focus. */
export function listenForPageKeys(showTable: () => void): void {
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const isTyping = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    showTable();
    part("filter").focus();
  });
  part("skip").addEventListener("click", (event) => {
    // Not by fragment: the hash belongs to symbol and timeframe.
    event.preventDefault();
    showTable();
    part("prices-heading").focus();
  });
}
