/** The order books that a client has told of: without a connection, none of them is right. */
import { compareDecimals } from "./decimal.js";
import type { Book, BookChanges, BookLevel } from "./messages.js";

const TOPICS_MAX = 20_000;
/** Levels of each side that a checksum covers. */
const CHECKSUM_LEVELS = 10;

export class Books {
  /** The valid ones. */
  readonly #byTopic = new Map<string, Book>();

  /** Whether this is the book that is here: of one number, only the depth can differ. */
  isHere(book: Book): boolean {
    const here = this.#byTopic.get(book.topic);
    return here !== undefined && here.state === book.state && here.bids.length === book.bids.length && here.asks.length === book.asks.length;
  }

  /** A book was told. */
  told(book: Book): void {
    this.#byTopic.delete(book.topic);
    if (book.state === "invalid") return;
    this.#byTopic.set(book.topic, book);
    const oldest = this.#byTopic.keys().next().value;
    if (this.#byTopic.size > TOPICS_MAX && oldest !== undefined) this.#byTopic.delete(oldest);
  }

  /** The book after changes; null if they are not those of the book that is here. */
  changed(changes: BookChanges): Book | null {
    const before = this.#byTopic.get(changes.topic);
    if (before === undefined || before.epoch !== changes.epoch || before.seq !== changes.prev_seq) return null;
    const { prev_seq, depth, checksum, ...fields } = changes;
    const bids = sideAfter(before.bids, changes.bids, depth, -1);
    const asks = sideAfter(before.asks, changes.asks, depth, 1);
    const [bid, ask] = [bids[0], asks[0]];
    const isCrossed = bid !== undefined && ask !== undefined && compareDecimals(bid[0], ask[0]) >= 0;
    return isCrossed || checksumOf(bids, asks) !== checksum ? null : { ...fields, bids, asks };
  }

  /** The connection has ended: what is to be told of the books that were valid. */
  lost(): Book[] {
    const books = [...this.#byTopic.values()];
    this.#byTopic.clear();
    return books.map((book) => invalid(book, "disconnected"));
  }

  /** Changes of a topic do not fit: what is to be told of its book; null if there was no valid one. */
  lose(topic: string): Book | null {
    const book = this.#byTopic.get(topic);
    this.#byTopic.delete(topic);
    return book === undefined ? null : invalid(book, "hole");
  }
}

function invalid(book: Book, reason: string): Book {
  return { ...book, state: "invalid", reason, update_id: null, bids: [], asks: [], event_ms: null, received_us: null };
}

/** A side after its changes, which are in order as its levels are; `sign` is 1 where prices rise. */
function sideAfter(levels: readonly BookLevel[], changes: readonly BookLevel[], depth: number | null, sign: 1 | -1): BookLevel[] {
  const after: BookLevel[] = [];
  // The levels beyond the depth are not followed, so they must not come back.
  const kept = levels.slice(0, depth ?? levels.length);
  let at = 0;
  for (const change of changes) {
    let level = kept[at];
    while (level !== undefined && compareDecimals(level[0], change[0]) * sign < 0) {
      after.push(level);
      at += 1;
      level = kept[at];
    }
    if (level !== undefined && compareDecimals(level[0], change[0]) === 0) at += 1;
    if (compareDecimals(change[1], "0") > 0) after.push(change);
  }
  return [...after, ...kept.slice(at)];
}

function checksumOf(bids: readonly BookLevel[], asks: readonly BookLevel[]): number {
  const best = [...bids.slice(0, CHECKSUM_LEVELS), ...asks.slice(0, CHECKSUM_LEVELS)];
  return crc32(best.map(([price, quantity]) => `${price}:${quantity},`).join(""));
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** CRC-32 of a text of digits, points, colons and commas. */
function crc32(text: string): number {
  let crc = 0xffffffff;
  for (let at = 0; at < text.length; at += 1) crc = (CRC_TABLE[(crc ^ text.charCodeAt(at)) & 0xff] ?? 0) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
