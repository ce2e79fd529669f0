// Opens every page of a built book from disk, without network, in both themes and at two widths; prints what is wrong as JSON lines.
//   node check.mjs CHROMIUM FOLDER PAGE...
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [executablePath, folder, ...pages] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
for (const theme of ["light", "dark"]) for (const width of [1400, 390]) {
  const context = await browser.newContext({ viewport: { width, height: 1000 }, colorScheme: theme, offline: true });
  context.setDefaultTimeout(300_000); // a busy machine is no fault of a page
  for (const name of pages) {
    const page = await context.newPage(), say = (what, more) => console.log(JSON.stringify({ theme, width, page: name, what, more }));
    page.on("pageerror", (error) => say("error", error.message));
    page.on("request", (request) => request.url().startsWith("http") && say("request", request.url()));
    await page.goto(`${pathToFileURL(folder)}/${name}`);
    await page.evaluate(() => window.MathJax?.startup?.promise);
    await page.waitForTimeout(300);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (over > 0) say("overflow", over);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"], preload: false }));
    for (const v of violations) if (["serious", "critical"].includes(v.impact)) say(v.id, v.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)));
    await page.close();
  }
  await context.close();
}
await browser.close();
