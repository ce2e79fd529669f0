// Moves every slider of the widgets on a page by keyboard; prints what is said before and after as JSON.   node widgets.mjs CHROMIUM FOLDER PAGE
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
const { chromium } = createRequire(import.meta.url)("playwright-core");
const [executablePath, folder, name] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await (await browser.newContext({ offline: true, viewport: { width: 1400, height: 1000 } })).newPage(), errors = [];
page.setDefaultTimeout(300_000); // a busy machine is no fault of a page
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(`${pathToFileURL(folder)}/${name}`);
await page.waitForFunction(() => [...document.querySelectorAll(".cxr-widget-said")].every((said) => said.textContent));
const widgets = {};
for (const widget of await page.locator(".cxr-widget").all()) {
  const said = [await widget.locator(".cxr-widget-said").textContent()];
  for (const slider of await widget.locator('input[type="range"], select').all()) {
    await slider.focus();
    for (let step = 0; step < 3; step++) await page.keyboard.press(await slider.evaluate((each) => each.tagName === "SELECT" ? "ArrowDown" : "ArrowRight"));
    await page.waitForTimeout(600);
    said.push(await widget.locator(".cxr-widget-said").textContent());
  }
  widgets[await widget.getAttribute("id")] = { said, drawn: await widget.locator("svg, img").count() };
}
console.log(JSON.stringify({ errors, widgets }));
await browser.close();
