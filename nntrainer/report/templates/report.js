"use strict";
// Without this script the page has everything but sorting and enlarging.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  table.querySelectorAll("th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent) button.setAttribute("aria-label", "Sort by column " + (column + 1));
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const cell = row.cells[column];
        return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
      };
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // what is no number comes last
        const rising = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
        return up ? rising : -rising;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}

const large = document.getElementById("large");
const plots = [...document.querySelectorAll(".zoom")];
let shown = 0;
const show = (index) => {
  shown = (index + plots.length) % plots.length;
  const image = plots[shown].querySelector("img");
  large.querySelector("img").src = image.src;
  large.querySelector("img").alt = image.alt;
  large.querySelector("figcaption").textContent = image.alt;
};
plots.forEach((plot, index) => plot.addEventListener("click", () => { show(index); large.showModal(); }));
for (const turn of large.querySelectorAll(".turn")) {
  turn.addEventListener("click", () => show(shown + Number(turn.dataset.step)));
}
large.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { show(shown + step); event.preventDefault(); }
});
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("close", () => plots[shown].focus());

let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const each of closed) each.open = true;
});
window.addEventListener("afterprint", () => { for (const each of closed) each.open = false; });
