// Moves the sliders of the explorer by keyboard and steps the viewer; prints what stands there before and after as JSON.   node explorer.mjs CHROMIUM FOLDER
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const { chromium } = createRequire(import.meta.url)("playwright-core");
const [executablePath, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await (await browser.newContext({ offline: true, viewport: { width: 1400, height: 1000 } })).newPage(), errors = [];
page.setDefaultTimeout(300_000); // a busy machine is no fault of a page
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(`${pathToFileURL(folder)}/explorer.html`);
await page.waitForSelector("#cxr-chart svg");
await page.waitForTimeout(500);
const said = () => page.textContent("#cxr-said");
const first = await said();
await page.getByRole("slider", { name: "Threshold" }).focus();
for (let step = 0; step < 20; step++) await page.keyboard.press("ArrowRight");
await page.waitForTimeout(800);
const threshold = await said();
await page.getByRole("slider", { name: "Prevalence" }).focus();
for (let step = 0; step < 20; step++) await page.keyboard.press("ArrowRight");
await page.waitForTimeout(800);
const prevalence = await said();
const viewer = [];
if (await page.locator("#cxr-viewer-next").count()) for (let step = 0; step < 2; step++) {
  viewer.push(await page.$eval("#cxr-viewer-image", (image) => ({ src: image.getAttribute("src"), alt: image.alt, width: image.naturalWidth })));
  await page.locator("#cxr-viewer-next").focus();
  await page.keyboard.press("Enter");
  await page.waitForTimeout(300);
}
console.log(JSON.stringify({ errors, first, threshold, prevalence, viewer }));
await browser.close();
