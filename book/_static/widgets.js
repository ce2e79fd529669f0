// Charts with sliders of the widgets, and the blend of two phantoms; what is seen stands below as text. Nothing is fetched.
(() => {
  for (const widget of document.querySelectorAll(".cxr-widget")) {
    const data = widget.querySelector('script[type="application/json"]'), said = widget.querySelector(".cxr-widget-said");
    if (!data || !window.vegaEmbed) continue;
    vegaEmbed(widget.querySelector(".cxr-widget-chart"), JSON.parse(data.textContent), { renderer: "svg", actions: false, mode: "vega-lite" }).then(({ view }) => {
      const tell = () => { said.textContent = view.signal("said"); };
      view.addSignalListener("said", tell);
      tell();
      widget.nextElementSibling?.classList.add("cxr-replaced");
    }).catch((error) => { said.textContent = `The chart could not be drawn (${error.message}).`; });
  }
  const weight = document.getElementById("cxr-blend-weight"), over = document.getElementById("cxr-blend-over");
  if (!weight) return;
  const widget = weight.closest(".cxr-widget"), said = widget.querySelector(".cxr-widget-said");
  const show = () => {
    const share = Number(weight.value), entropy = [share, 1 - share].reduce((sum, each) => sum - (each > 0 ? each * Math.log(each) : 0), 0);
    over.style.opacity = share;
    said.textContent = `Label ${share.toFixed(2)}; the least loss that any network can have on it is ${entropy.toFixed(3)}, at a score of ${share.toFixed(2)}.`;
  };
  weight.addEventListener("input", show);
  show();
  widget.nextElementSibling?.classList.add("cxr-replaced");
})();
