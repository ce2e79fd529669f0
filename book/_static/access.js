// Names that match what is seen, and a place for the keyboard in every box that scrolls.
(() => {
  const mend = () => {
    document.querySelectorAll(".search-button-field").forEach((button) => button.setAttribute("aria-label", button.textContent.replace(/\s+/g, " ").trim()));
    document.querySelectorAll(".theme-switch-button").forEach((button) => {
      button.setAttribute("aria-label", "Light or dark");
      button.querySelectorAll("i, svg").forEach((icon) => { icon.setAttribute("aria-hidden", "true"); icon.removeAttribute("title"); });
    });
  };
  const boxes = ".bd-article figure, .bd-article .pst-scrollable-table-container, .bd-article .cell_output, .bd-article div.math, .bd-article pre, mjx-container[display='true'], .bd-article .cxr-scroll";
  const reach = () => document.querySelectorAll(boxes).forEach((box) => {
    const scrolls = (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) && getComputedStyle(box).overflowX !== "visible";
    if (scrolls && !box.hasAttribute("tabindex")) { box.tabIndex = 0; box.dataset.cxrReached = ""; }
    if (!scrolls && "cxrReached" in box.dataset) { box.removeAttribute("tabindex"); delete box.dataset.cxrReached; }
  });
  const all = () => { mend(); reach(); };
  document.addEventListener("DOMContentLoaded", () => {
    all();
    window.addEventListener("load", all);
    window.addEventListener("resize", reach);
    new ResizeObserver(reach).observe(document.body);
    // Mathematics is drawn late, and one formula more or less does not change the body's size.
    document.querySelectorAll(".bd-article div.math, .bd-article span.math").forEach((box) => new MutationObserver(reach).observe(box, { childList: true, subtree: true }));
  });
})();
