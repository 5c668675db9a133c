/** Topics and patterns of the client protocol. Pure. */

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
    if (isLast && want === "*" && index === 2 && parts[0] === "kline") return true;
    if (want !== "*" && want !== part) return false;
  }
  return wanted.length === parts.length;
}

/**
 * The second name of a bar topic with a plain symbol: the one with its exchange in front. Null if
 * the topic has none.
 */
export function aliasOf(topic: string, exchange: string): string | null {
  const parts = topic.split(":");
  return parts[0] === "kline" && parts.length === 3 && exchange !== "" ? `kline:${parts[1]}:${exchange.toUpperCase()}:${parts[2]}` : null;
}

/** The plain name of a bar topic that has an exchange in front; the topic itself if it has none. */
export function plainOf(topic: string): string {
  const parts = topic.split(":");
  return parts[0] === "kline" && parts.length === 4 ? `kline:${parts[1]}:${parts[3]}` : topic;
}
