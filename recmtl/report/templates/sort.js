"use strict";
// Tables are sorted by a click, or Enter, on the head of a column; without this script they stay as they are.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  if (body.rows.length < 3) continue;
  const number = cell => parseFloat(cell.textContent.replaceAll(",", "").replaceAll("\u2212", "-"));
  const order = (a, b, up) => {
    const [x, y] = [number(a), number(b)];
    if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1; // what has no number comes last
    return up * (isNaN(x) ? a.textContent.localeCompare(b.textContent) : x - y);
  };
  heads.forEach((head, column) => {
    const sort = () => {
      const before = head.getAttribute("aria-sort");
      const first = column ? -1 : 1; // names from A to Z, figures from the largest
      const up = before === "none" ? first : before === "ascending" ? -1 : 1;
      heads.forEach(other => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
      const rows = Array.from(body.rows);
      rows.sort((a, b) => order(a.cells[column], b.cells[column], up));
      body.append(...rows);
    };
    head.setAttribute("aria-sort", "none");
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
