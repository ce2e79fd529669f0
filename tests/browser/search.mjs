// Searches a built book that is opened from disk; prints the results with their excerpts as JSON.   node search.mjs CHROMIUM FOLDER WORDS
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const { chromium } = createRequire(import.meta.url)("playwright-core");
const [executablePath, folder, words] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await (await browser.newContext({ offline: true })).newPage(), errors = [];
page.setDefaultTimeout(300_000); // a busy machine is no fault of a page
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(`${pathToFileURL(folder)}/search.html?q=${encodeURIComponent(words)}`);
await page.waitForSelector("#search-results li");
await page.waitForTimeout(1500);
const results = await page.$$eval("#search-results li", (items) => items.map((item) => ({ title: item.querySelector("a").textContent, excerpt: item.querySelector("p.context")?.textContent ?? "" })));
console.log(JSON.stringify({ errors, results }));
await browser.close();
