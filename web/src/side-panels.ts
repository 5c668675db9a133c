/** The panels beside the chart: order book, trades, tickers and alerts, and the tabs that lead to them. */
import type { ConnectionStatus, History, KlinecastClient, ProtocolError } from "klinecast";
import { AlertsPanel } from "./alerts-panel.js";
import { BookPanel } from "./book-panel.js";
import { part } from "./page-part.js";
import { PanelTabs } from "./panel-tabs.js";
import type { PriceDigits } from "./price-digits.js";
import { TapePanel } from "./tape-panel.js";
import { TickerTable } from "./ticker-table.js";
import type { Zone } from "./time-text.js";

export interface SidePanelsConfig {
  readonly client: KlinecastClient;
  /** Null where the page may not ask its own server about another gateway's data. */
  readonly history: History | null;
  readonly digits: PriceDigits;
  readonly zoneOf: () => Zone;
  /** The gateway's time. */
  readonly nowMs: () => number;
  readonly onChoose: (symbol: string) => void;
  /** Something is to be written at the next frame. */
  readonly onDirty: () => void;
}

export class SidePanels {
  readonly #tabs: PanelTabs;
  readonly #book: BookPanel;
  readonly #tape: TapePanel;
  readonly #tickers: TickerTable;
  readonly #alerts: AlertsPanel;

  constructor({ client, history, digits, zoneOf, nowMs, onChoose, onDirty }: SidePanelsConfig) {
    // In a wide window book and trades stand beside the list; style.css has the same width.
    this.#tabs = new PanelTabs(part("tabs"), ["book", "tape"], window.matchMedia("(min-width: 1300px)"), onDirty);
    this.#book = new BookPanel(client, digits, onDirty);
    this.#tape = new TapePanel(client, digits, zoneOf, onDirty);
    this.#tickers = new TickerTable(client, history, digits, onChoose, onDirty);
    this.#alerts = new AlertsPanel(client, history !== null, zoneOf, nowMs, onDirty);
    client.on("book", (book) => this.#book.take(book));
    client.on("trade", (trade) => this.#tape.take(trade));
    client.on("ticker", (ticker) => this.#tickers.take(ticker));
    client.on("alert", (alert) => this.#alerts.take(alert));
    client.on("ack", ({ pending }) => this.#book.pending(pending));
  }

  /** Opens the table of prices. */
  showMarkets(): void {
    if (this.#tabs.chosen !== "markets") this.#tabs.choose("markets");
  }

  choose(symbol: string): void {
    this.#book.choose(symbol);
    this.#tape.choose(symbol);
    this.#tickers.choose(symbol);
    this.#alerts.choose(symbol);
  }

  /** The symbols that the gateway has. */
  list(symbols: readonly string[]): void {
    this.#tickers.list(symbols);
  }

  statusChanged({ state }: ConnectionStatus): void {
    if (state !== "open") this.#book.connectionLost();
  }

  /** Whether the error is about a topic of one of the panels. */
  refuse({ topics, message }: ProtocolError): boolean {
    const isOfBook = this.#book.refuse(topics, message);
    const isOfTape = this.#tape.refuse(topics, message);
    return isOfBook || isOfTape || topics.some((topic) => /^(book|trade|ticker|alert):/.test(topic));
  }

  zoneChanged(): void {
    this.#tape.zoneChanged();
    this.#alerts.zoneChanged();
  }

  /** Writes what has changed; once a frame. */
  flush(): void {
    this.#book.flush();
    this.#tape.flush();
    this.#tickers.flush();
    this.#alerts.flush();
  }
}
