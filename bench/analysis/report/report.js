"use strict";
// Tables that sort by a click on a column's head, and rows that can be filtered. Without this script all is there, in order.
(() => {
  const collator = new Intl.Collator("en", { numeric: true });
  const LABELS = 4; // columns at most that say what a row is of
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

  // Conditions on a row: `copying` is a whole word of what names it; `clip 1`, `clip=1`, `score>0.9` are about one column.
  const conditions = (text, names, worded) => {
    const found = [];
    const words = text.toLowerCase().replace(/\s*([=<>])\s*/g, "$1").split(/\s+/).filter(Boolean);
    for (let k = 0; k < words.length; k += 1) {
      const [, name, sign, value] = /^([^=<>]+)([=<>])(.+)$/.exec(words[k]) ?? [null, words[k], "=", words[k + 1]];
      const column = names.indexOf(name);
      if (column < 0) found.push((cells) => cells.some((cell, place) => worded[place] && parts(cell).includes(words[k])));
      else if (value !== undefined) {
        found.push((cells) => (sign === "=" ? parts(cells[column]).includes(value) : compared(cells[column], sign, value)));
        if (!/[=<>]/.test(words[k])) k += 1;
      }
    }
    return found;
  };
  const parts = (cell) => [cell, ...cell.split(/[\s,;]+/)];
  const compared = (cell, sign, value) => {
    const [a, b] = [number(cell), number(value)];
    return a !== null && b !== null && (sign === ">" ? a > b : a < b);
  };

  // What is chosen of each axis: the settings that are shown, in tables and figures alike.
  const chosen = { task: new Set(), cell: new Set(), clip: new Set() };
  const isChosen = (axis, name) => !chosen[axis].size || chosen[axis].has(name);
  const rowIsChosen = (row) =>
    Object.keys(chosen).every((axis) => !row.dataset[axis] || row.dataset[axis].split("|").every((name) => isChosen(axis, name)));
  const onChoice = [];
  window.bench = { rowIsChosen, onChoice }; // what charts.js shares

  const makeFilterable = (table, k) => {
    const rows = [...table.tBodies[0].rows];
    const names = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim().toLowerCase());
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim().toLowerCase()));
    const worded = names.map((_, place) => place < LABELS || texts.some((cells) => number(cells[place]) === null));
    const bar = document.createElement("p");
    bar.className = "filter";
    const label = document.createElement("label");
    label.htmlFor = `filter-${k}`;
    label.textContent = "Filter rows ";
    const input = document.createElement("input");
    input.type = "search";
    input.id = label.htmlFor;
    input.placeholder = "lstm clip=1 score>0.9";
    const count = document.createElement("output");
    count.htmlFor = input.id;
    const show = () => {
      const wanted = conditions(input.value, names, worded);
      let shown = 0;
      rows.forEach((row, place) => {
        row.hidden = !rowIsChosen(row) || !wanted.every((holds) => holds(texts[place]));
        shown += !row.hidden;
      });
      count.textContent = shown < rows.length ? `${shown} of ${rows.length} rows` : "";
    };
    input.addEventListener("input", show);
    onChoice.push(show);
    bar.append(label, input, " ", count);
    table.closest(".scroll").before(bar);
  };

  document.querySelectorAll("table.rows").forEach((table, k) => {
    makeSortable(table);
    if (table.tBodies[0].rows.length > 1) makeFilterable(table, k);
  });

  document.querySelectorAll(".axes input").forEach((box) => {
    box.addEventListener("change", () => {
      const { axis } = box.dataset;
      const boxes = [...document.querySelectorAll(`.axes input[data-axis="${axis}"]`)];
      const on = boxes.filter((one) => one.checked);
      chosen[axis] = new Set(on.length < boxes.length ? on.map((one) => one.value) : []);
      onChoice.forEach((show) => show());
    });
  });

  document.querySelectorAll("button.copy").forEach((button) => {
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const done = await copied(button.dataset.copy);
      button.textContent = done ? "Copied" : "Not copied: the browser refused";
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  });
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
})();
