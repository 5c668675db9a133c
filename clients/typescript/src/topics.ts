/** Topics and patterns of the client protocol. Pure. */

/** Where the symbol begins in the topics of each channel. */
const SYMBOL_AT: ReadonlyMap<string, number> = new Map([
  ["kline", 2],
  ["trade", 1],
  ["quote", 1],
  ["ticker", 1],
  ["book", 1],
  ["alert", 2],
]);

/** Whether a topic of the client protocol is a pattern. */
export function isPattern(topic: string): boolean {
  return topic.includes("*") || topic.includes(">");
}

/**
 * Whether `pattern` stands for `topic`: a `*` is any one part, in a bar topic's place of the
 * symbol any symbol (with or without an exchange in front), and a last `>` all that follows.
 */
export function topicMatches(pattern: string, topic: string): boolean {
  if (pattern === topic) return true;
  const wanted = pattern.split(":");
  const parts = topic.split(":");
  for (const [index, want] of wanted.entries()) {
    const part = parts[index];
    const isLast = index === wanted.length - 1;
    if (part === undefined) return false;
    if (isLast && want === ">") return true;
    if (isLast && want === "*" && index === symbolIndexOf(parts[0])) return true;
    if (want !== "*" && want !== part) return false;
  }
  return wanted.length === parts.length;
}

/** Which part of a topic of this channel is the symbol; -1 if it has none. */
function symbolIndexOf(channel: string | undefined): number {
  return SYMBOL_AT.get(channel ?? "") ?? -1;
}

/**
 * The second name of a topic with a plain symbol: the one with its exchange in front. Null if the
 * topic has none.
 */
export function aliasOf(topic: string, exchange: string): string | null {
  const parts = topic.split(":");
  const index = symbolIndexOf(parts[0]);
  return index > 0 && parts.length === index + 1 && exchange !== "" ? [...parts.slice(0, index), exchange.toUpperCase(), parts[index]].join(":") : null;
}

/** The plain name of a topic that has an exchange in front; the topic itself if it has none. */
export function plainOf(topic: string): string {
  const parts = topic.split(":");
  const index = symbolIndexOf(parts[0]);
  return index > 0 && parts.length === index + 2 ? [...parts.slice(0, index), parts[index + 1]].join(":") : topic;
}

/** The topics that the address subscribes by itself: `/ws?topics=a,b`. */
export function topicsOfAddress(url: string): string[] {
  const query = url.split("#")[0]?.split("?")[1] ?? "";
  return (new URLSearchParams(query).get("topics") ?? "").split(",").filter((topic) => topic !== "");
}

/** Topics of which only the newest value counts. */
export const NEWEST_ONLY = /^(quote|ticker|book):/;
