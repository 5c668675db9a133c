/** A page in a real browser that shows a fake gateway's bars. */
import assert from "node:assert/strict";
import { FakeGateway } from "./fake-gateway.mjs";
import { hasDrawnBars, hasPrices, isLive, openPage, waitFor } from "./page.mjs";

/**
 * Runs `scenario` on a page at `hash`, by default once it shows live 1s bars of BTC-USD; afterwards
 * nothing may have been complained about. `prepare` gets the page before it is opened.
 */
export async function onPage(browser, options, scenario, { hash = "#symbol=BTC-USD&timeframe=1s", isExpectedLive = true, context = {}, prepare } = {}) {
  const gateway = new FakeGateway(options);
  const port = await gateway.start();
  const { page, faults } = await openPage(browser, `http://127.0.0.1:${port}/${hash}`, context, prepare);
  try {
    if (isExpectedLive) {
      await waitFor(page, "the badge to say live", isLive);
      await waitFor(page, "prices", hasPrices, 5);
      await waitFor(page, "bars", hasDrawnBars, { bars: 1 });
    }
    await scenario({ gateway, page, port, faults });
    assert.deepEqual(faults, []);
  } finally {
    await page.close();
    await gateway.kill();
  }
}
