/**
 * Builds the page into dist/, which the gateway embeds.
 *
 *   --client  the client alone into lib/ instead (types come from tsc, see package.json)
 *   --test    also the modules under test into build/
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

if (process.argv.includes("--client")) await buildClient();
else await buildPage();
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

async function buildClient() {
  await build({ ...common, entryPoints: ["src/client.ts"], outfile: "lib/client.js" });
  await writeFile(`${web}lib/package.json`, `${JSON.stringify({ type: "module", main: "client.js", types: "client.d.ts" }, null, 2)}\n`);
  console.log("web/lib: client.js");
}

async function buildModulesUnderTest() {
  const modules = ["bar-fold", "bar-series", "bar-versions", "chart-notice", "client", "client-clock", "client-events", "connection", "decimal-text", "feed-health", "feeds", "history-api", "history-plan", "overload-pace", "page-address", "price-digits", "protocol", "reconnect", "requests", "subscriptions", "symbol-search", "time-axis", "time-range", "time-text", "timeframe", "token-keeper", "width"];
  await build({ ...common, bundle: false, entryPoints: modules.map((name) => `src/${name}.ts`), outdir: "build" });
}
