/**
 * Builds the page into dist/, which the gateway embeds.
 *
 *   --test    also the modules under test into build/
 *
 * The client of the protocol comes from clients/typescript: tsconfig.json says where its source is.
 */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const web = fileURLToPath(new URL("..", import.meta.url));
const common = {
  absWorkingDir: web,
  bundle: true,
  format: "esm",
  target: "es2022",
  legalComments: "inline",
  logLevel: "warning",
};

await buildPage();
if (process.argv.includes("--test")) await buildModulesUnderTest();

async function buildPage() {
  await mkdir(`${web}dist`, { recursive: true });
  const page = await build({
    ...common,
    entryPoints: ["src/app.ts"],
    outfile: "dist/app.js",
    minify: true,
    define: { "process.env.NODE_ENV": '"production"' },
    metafile: true,
  });
  await build({ ...common, entryPoints: ["src/style.css"], outfile: "dist/style.css", minify: true });
  for (const name of ["favicon.svg", "index.html"]) await copyFile(`${web}src/${name}`, `${web}dist/${name}`);
  for (const name of ["app.js", "style.css", "index.html", "favicon.svg"]) await compress(`${web}dist/${name}`);
  const bytes = Object.values(page.metafile.outputs)[0]?.bytes ?? 0;
  console.log(`web/dist: index.html, app.js (${Math.round(bytes / 1024)} KiB), style.css, favicon.svg`);
}

/** Compressed once here, so that klinecast sends the smaller file without work of its own. */
async function compress(path) {
  const content = await readFile(path);
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  await writeFile(`${path}.br`, brotliCompressSync(content, quality));
  await writeFile(`${path}.gz`, gzipSync(content, { level: 9 }));
}

async function buildModulesUnderTest() {
  const modules = ["alert-text", "bar-fold", "bar-series", "book-ladder", "chart-notice", "decimal-text", "feed-health", "feeds", "history-plan", "page-address", "past-trails", "price-digits", "price-trail", "rule-draft", "rules-api", "symbol-search", "time-axis", "time-range", "time-text", "timeframe", "topic-use", "trade-tape"];
  const entryPoints = modules.map((name) => ({ in: `src/${name}.ts`, out: name }));
  entryPoints.push({ in: "../clients/typescript/src/index.ts", out: "klinecast" });
  await build({ ...common, splitting: true, entryPoints, outdir: "build" });
}
