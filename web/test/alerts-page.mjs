/**
 * End-to-end check of rules on the page of a running fleet: a wrong token is refused, a rule is made, its alert comes, and the rule is removed.
 *
 *   node test/alerts-page.mjs URL TOKEN_FILE
 *
 * Needs Chromium: env CHROMIUM, else /usr/bin/chromium. Exits 0 if all of this happens, else 1.
 */
import { readFile } from "node:fs/promises";
import { launchBrowser, openPage, waitFor } from "./page.mjs";

function says({ selector, pattern }) {
  const element = document.querySelector(selector);
  return element !== null && element.checkVisibility() && new RegExp(pattern).test(element.textContent.replace(/\s+/g, " "));
}

async function give(page, token) {
  await page.locator("#rules-token").fill(token);
  await page.locator("#rules-access button").click();
}

async function check(url, tokenFile) {
  const token = (await readFile(tokenFile, "utf8")).trim();
  const browser = await launchBrowser();
  try {
    const { page, faults } = await openPage(browser, url);
    await page.locator("#tab-alerts").click();
    await waitFor(page, "the question for a token", says, { selector: "#rules-fault", pattern: "need a token" });
    await give(page, `${token.slice(0, -1)}-`);
    await waitFor(page, "the refusal of a wrong token", says, { selector: "#rules-fault", pattern: "did not take this token" });
    await give(page, token);
    await waitFor(page, "the form", () => document.querySelector("#rules").checkVisibility());
    await page.locator("#rule-summary").click();
    await page.locator("#rule-symbol").fill("*");
    await page.locator("#rule-type").selectOption("move");
    const fields = page.locator("#rule-fields input");
    for (let index = 0; index < (await fields.count()); index += 1) {
      // Any trade moves a price this far.
      if ((await fields.nth(index).getAttribute("name")) === "percent") await fields.nth(index).fill("0.0001");
    }
    await page.locator("#rule-form button[type=submit]").click();
    await waitFor(page, "the new rule", says, { selector: "#rule-said", pattern: "^The rule .* is set" });
    await waitFor(page, "its alert", says, { selector: "#alert-list li", pattern: "(rose|fell) " }, 120_000);
    const [remove] = await page.locator("#rule-list button").all();
    await remove.click();
    await waitFor(page, "no rule", says, { selector: "#rule-said", pattern: "is removed" });
    // The answers of 401 are what this check asked for.
    const unexpected = faults.filter((fault) => !fault.includes("401"));
    if (unexpected.length > 0) throw new Error(`the browser complained:\n  ${unexpected.join("\n  ")}`);
    console.log(`alerts page ok: ${(await page.locator("#alert-list li").first().textContent()).trim()}`);
  } finally {
    await browser.close();
  }
}

const [url, tokenFile] = process.argv.slice(2);
if (tokenFile === undefined) {
  console.error("usage: node test/alerts-page.mjs URL TOKEN_FILE");
  process.exit(1);
}
try {
  await check(url, tokenFile);
} catch (error) {
  console.error(`alerts page failed: ${error.message}`);
  process.exit(1);
}
