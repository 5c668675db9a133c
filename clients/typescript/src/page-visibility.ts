/** A client in a page that nobody looks at. */
import type { KlinecastClient } from "./client.js";

/**
 * Pauses `client` while `page` is hidden for longer than `graceMs`, and resumes it on return.
 * The result ends that.
 */
export function pauseWhileHidden(client: KlinecastClient, page: Document, graceMs = 5_000): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const onChange = (): void => {
    clearTimeout(timer);
    if (page.visibilityState === "hidden") timer = setTimeout(() => client.pause(), graceMs);
    else client.resume();
  };
  page.addEventListener("visibilitychange", onChange);
  return () => {
    clearTimeout(timer);
    page.removeEventListener("visibilitychange", onChange);
  };
}
