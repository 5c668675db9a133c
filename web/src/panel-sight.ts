/** Whether a part of the page can be seen: it is in a chosen tab, and scrolled into the window or close to it. */

const MARGIN = "100px";

/** Calls `onChange` when `element` comes into sight or leaves it. */
export function watchSight(element: Element, onChange: (isInSight: boolean) => void): void {
  let isInSight = false;
  new IntersectionObserver(
    (changes) => {
      const last = changes[changes.length - 1];
      if (last === undefined || last.isIntersecting === isInSight) return;
      isInSight = last.isIntersecting;
      onChange(isInSight);
    },
    { rootMargin: MARGIN },
  ).observe(element);
}
