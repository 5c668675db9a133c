/** Builds the page into dist/ (what the gateway embeds), the client alone into lib/, and with `--test` the modules under test into build/. */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
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
for (const name of ["index.html", "favicon.svg"]) await copyFile(`${web}src/${name}`, `${web}dist/${name}`);

await build({ ...common, entryPoints: ["src/client.ts"], outfile: "lib/client.js" });
await writeFile(`${web}lib/package.json`, `${JSON.stringify({ type: "module", main: "client.js" }, null, 2)}\n`);

if (process.argv.includes("--test")) {
  await build({
    ...common,
    bundle: false,
    entryPoints: ["bar-series", "bar-versions", "client", "decimal-text", "feed-health", "page-address", "protocol", "reconnect", "timeframe"].map((name) => `src/${name}.ts`),
    outdir: "build",
  });
}

const bytes = Object.values(page.metafile.outputs)[0]?.bytes ?? 0;
console.log(`dist: index.html, app.js (${Math.round(bytes / 1024)} KiB), style.css, favicon.svg; lib: client.js`);
