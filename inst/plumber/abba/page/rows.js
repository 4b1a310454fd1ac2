// The rows of a table, each by its id: a row stays the same element, and so keeps the focus.

import { element, make } from "./text.js";

export const cell = (name, ...children) => make("td", { role: "cell", class: name }, ...children);

// `rows`: by id the row and its parts, as `makeRow` made them; `shown`: by id what `drawRow` writes into the parts, in order.
export function drawRows(table, rows, shown, makeRow, drawRow) {
  for (const [id, { row }] of rows) {
    if (shown.has(id)) continue;
    // The focus of a row that goes is not lost.
    if (row.contains(document.activeElement)) element("list-title").focus();
    row.remove();
    rows.delete(id);
  }
  const body = element(table).tBodies[0];
  let next = body.firstElementChild;
  for (const [id, what] of shown) {
    if (!rows.has(id)) rows.set(id, makeRow(id));
    const { row, part } = rows.get(id);
    drawRow(part, what);
    // Moved only where it is not there already: moving takes the focus away.
    if (row === next) next = row.nextElementSibling; else body.insertBefore(row, next);
  }
}
