/** An order book as rows of a ladder: levels with their running totals, and the spread. Pure. */
import { type Book, type BookLevel, type DecimalText, addDecimals, subtractDecimals } from "klinecast";

export interface LadderRow {
  readonly price: DecimalText;
  readonly quantity: DecimalText;
  /** All that is offered from the best price up to this one. */
  readonly total: DecimalText;
  /** `total` as a part of the largest total of both sides that is shown: 0 to 1. */
  readonly depth: number;
}

export interface Ladder {
  /** The best first, at most as many as asked for. */
  readonly bids: readonly LadderRow[];
  readonly asks: readonly LadderRow[];
  /** Null if a side is empty. */
  readonly spread: DecimalText | null;
  /** The spread in hundredths of a percent of the middle; null if there is none. */
  readonly spreadBasisPoints: number | null;
}

/** The best `levels` of each side of `book`. */
export function ladderOf(book: Pick<Book, "bids" | "asks">, levels: number): Ladder {
  const [bids, asks] = [totalsOf(book.bids, levels), totalsOf(book.asks, levels)];
  const most = Math.max(lastTotal(bids), lastTotal(asks));
  const [bid, ask] = [bids[0], asks[0]];
  const spread = bid === undefined || ask === undefined ? null : subtractDecimals(ask.price, bid.price);
  const middle = bid === undefined || ask === undefined ? 0 : (Number(bid.price) + Number(ask.price)) / 2;
  return {
    bids: bids.map((row) => ({ ...row, depth: part(row.total, most) })),
    asks: asks.map((row) => ({ ...row, depth: part(row.total, most) })),
    spread,
    spreadBasisPoints: spread === null || middle === 0 ? null : (Number(spread) / middle) * 10_000,
  };
}

type Total = Omit<LadderRow, "depth">;

function totalsOf(levels: readonly BookLevel[], count: number): Total[] {
  let total: DecimalText = "0";
  return levels.slice(0, count).map(([price, quantity]) => {
    total = addDecimals(total, quantity);
    return { price, quantity, total };
  });
}

function lastTotal(rows: readonly Total[]): number {
  return Number(rows[rows.length - 1]?.total ?? "0");
}

/** In steps of a thousandth: finer ones cannot be seen, and would be drawn each time. */
function part(total: DecimalText, most: number): number {
  return most > 0 ? Math.round((Number(total) / most) * 1_000) / 1_000 : 0;
}

/** Why there is no right book, for people. */
export function bookFaultText(reason: string | null): string {
  switch (reason) {
    case "hole":
      return "A change of the book was lost. The server loads the book again.";
    case "crossed":
      return "The exchange's changes make no sense. The server loads the book again.";
    case "lost":
      return "The server has no connection to the exchange's book.";
    case "silent":
      return "The server that follows this book is silent.";
    case "too_deep":
      return "The book has more levels than the server keeps.";
    case "too_thin":
      return "Too few levels near the price are known. The server loads the book again.";
    case "disconnected":
      return "No connection to the gateway.";
    default:
      return "The book is not right at the moment.";
  }
}
