// The chart of the explorer, its numbers in words, and the viewer that swaps pictures. Nothing is fetched.
(() => {
  const holder = document.getElementById("cxr-specification"), said = document.getElementById("cxr-said");
  const percent = (share) => (100 * share).toFixed(1) + " %";
  const walk = (item, found) => {
    if (item.datum && item.datum.measure !== undefined) found.set(item.datum.measure, item.datum);
    (item.items || []).forEach((child) => walk(child, found));
    return found;
  };
  if (holder && window.vegaEmbed) {
    vegaEmbed("#cxr-chart", JSON.parse(holder.textContent), { renderer: "svg", actions: false, mode: "vega-lite" }).then(({ view }) => {
      document.querySelector(".cxr-explorer-fallback")?.classList.add("cxr-replaced");
      const tell = () => {
        const measures = walk(view.scenegraph().root, new Map());
        said.textContent = `Threshold ${view.signal("threshold").toFixed(2)}, prevalence ${percent(view.signal("prevalence"))}: ` +
          [...measures].map(([name, d]) => Number.isFinite(d.value) ? `${name} ${percent(d.value)} (${percent(d.low)} to ${percent(d.high)})` : `${name}: no image`).join("; ") + ".";
      };
      ["start", "run", "threshold", "prevalence"].forEach((name) => view.addSignalListener(name, () => view.runAsync().then(tell)));
      tell();
    }).catch((error) => { said.textContent = `The chart could not be drawn (${error.message}); the figure below shows the same curves.`; });
  }

  const list = document.getElementById("cxr-frames");
  if (!list) return;
  const frames = JSON.parse(list.textContent), image = document.getElementById("cxr-viewer-image"), words = document.getElementById("cxr-viewer-said");
  let place = 0;
  const show = () => {
    const kind = document.querySelector('input[name="cxr-kind"]:checked').value;
    image.src = `_static/frames/${place}-${kind}.svg`;
    image.alt = `${frames[place].said} Shown: ${kind}.`;
    words.textContent = `${place + 1} of ${frames.length}. ${frames[place].said}`;
  };
  const step = (by) => { place = (place + by + frames.length) % frames.length; show(); };
  document.getElementById("cxr-viewer-back").addEventListener("click", () => step(-1));
  document.getElementById("cxr-viewer-next").addEventListener("click", () => step(1));
  document.querySelectorAll('input[name="cxr-kind"]').forEach((input) => input.addEventListener("change", show));
  show();
})();
