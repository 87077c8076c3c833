"use strict";
// Tables can be sorted by their columns; numbers are in data-value, and what has none stays at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.value ?? "";
  const sort = (column, head) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...body.rows];
    const numbers = rows.every((row) => value(row, column) === "" || Number.isFinite(Number(value(row, column))));
    rows.sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numbers ? Number(x) - Number(y) : x.localeCompare(y);
      return up ? order : -order;
    });
    body.append(...rows);
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.dataset.sort === undefined) return;
    const name = head.querySelector(".name");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...name.childNodes);
    name.append(button);
    button.addEventListener("click", () => sort(column, head));
  });
}
// A printed page has nothing to unfold, and a link into what is folded should show it.
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details:not([open])")) { d.open = true; d.dataset.shut = ""; } });
addEventListener("afterprint", () => { for (const d of document.querySelectorAll("details[data-shut]")) { d.open = false; delete d.dataset.shut; } });
addEventListener("hashchange", () => { document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", ""); });
