// Tables are sorted by a click on a heading, pictures are enlarged by a click. Nothing is loaded from elsewhere.
"use strict";

function valueOf(row, column) {
  const text = row.cells[column] ? row.cells[column].innerText.trim() : "";
  const number = parseFloat(text.replace(/,(?=\d{3})/g, "").replace("−", "-"));
  return { text, number };
}

function sortTable(table, column, ascending) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const values = new Map(rows.map((row) => [row, valueOf(row, column)]));
  const numeric = rows.every((row) => !values.get(row).text || !isNaN(values.get(row).number));
  rows.sort((a, b) => {
    const [one, other] = [values.get(a), values.get(b)];
    if (!one.text !== !other.text) return one.text ? -1 : 1; // empty cells last, either way
    const order = numeric ? one.number - other.number : one.text.localeCompare(other.text);
    return ascending ? order : -order;
  });
  body.append(...rows);
}

function makeSortable(table) {
  const headings = [...table.querySelectorAll("thead th")];
  if (headings.some((heading) => heading.innerText.trim() === "default")) table.dataset.keys = "";
  // A table whose rows go on in the next has empty first cells: sorting would tear them apart.
  const whole = [...table.tBodies[0].rows].every((row) => row.cells[0].innerText.trim());
  const named = headings.every((heading) => heading.innerText.trim());
  if (table.tBodies[0].rows.length < 4 || !whole || !named) return;
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const ascending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((each) => each.hasAttribute("aria-sort") && each.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortTable(table, column, ascending);
    });
  });
}

function enlarge(picture) {
  const dialog = document.createElement("dialog");
  dialog.className = "enlarged";
  dialog.append(picture.cloneNode(true));
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".md-content table:not([class])").forEach(makeSortable);
  document.querySelectorAll(".md-content img, .md-content svg.drawing").forEach((picture) => {
    picture.addEventListener("click", () => enlarge(picture));
    picture.style.cursor = "zoom-in";
  });
});
