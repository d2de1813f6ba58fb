"use strict";
// Sorting of the tables. Everything can be read without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, headings, column));
  });
}

function sort(table, headings, column) {
  const heading = headings[column];
  const numeric = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  // Numbers begin with the largest, names with A.
  const down = before ? before === "ascending" : numeric;
  headings.forEach((other) => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: row.cells[column].dataset.key }));
  // What is not known stays at the end, whichever way.
  const known = rows.filter(({ key }) => key !== undefined);
  known.sort((a, b) => (down ? -1 : 1) * (numeric ? a.key - b.key : compare(a.key, b.key)));
  const unknown = rows.filter(({ key }) => key === undefined);
  body.append(...known.concat(unknown).map(({ row }) => row));
}
