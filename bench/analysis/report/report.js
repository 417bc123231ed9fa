"use strict";
// Tables that sort by a click on a column's head, and rows that can be filtered. Without this script all is there, in order.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const units = { k: 1e3, M: 1e6 };

  // The first number of a cell ("5/5 [0.57, 1.00]", "> 2500", "4.1k"), or null.
  const number = (text) => {
    if (text.startsWith("∞")) return Infinity;
    const found = /^[<>]?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([kM])?/.exec(text);
    return found ? parseFloat(found[1]) * (units[found[2]] ?? 1) : null;
  };

  const sort = (table, head, column) => {
    const body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    const rows = [...body.rows].map((row) => ({ row, text: row.cells[column].textContent.trim() }));
    const filled = rows.filter(({ text }) => text !== "–" && text !== "");
    const numbers = filled.every(({ text }) => number(text) !== null);
    const compare = (a, b) => (numbers ? number(a.text) - number(b.text) || 0 : collator.compare(a.text, b.text));
    filled.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
    const missing = rows.filter(({ text }) => text === "–" || text === "");
    body.append(...[...filled, ...missing].map(({ row }) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  };

  const makeSortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.dataset.fixed !== undefined) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  };

  const makeFilterable = (table, number) => {
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const bar = document.createElement("p");
    bar.className = "filter";
    const label = document.createElement("label");
    label.htmlFor = `filter-${number}`;
    label.textContent = "Filter rows ";
    const input = document.createElement("input");
    input.type = "search";
    input.id = label.htmlFor;
    input.placeholder = "all of these words";
    const count = document.createElement("output");
    count.htmlFor = input.id;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, k) => {
        row.hidden = !words.every((word) => texts[k].includes(word));
        shown += !row.hidden;
      });
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    bar.append(label, input, " ", count);
    table.closest(".scroll").before(bar);
  };

  document.querySelectorAll("table.rows").forEach((table, number) => {
    makeSortable(table);
    if (table.tBodies[0].rows.length > 1) makeFilterable(table, number);
  });
})();
