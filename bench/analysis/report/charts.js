"use strict";
// Figures to look around in, drawn with Vega-Lite from the packed detail; a part for every run; two settings side by side.
(async () => {
  const packed = document.getElementById("detail");
  if (!packed || !window.DecompressionStream) return;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const detail = await new Response(stream).json();
  const AXES = ["task", "cell", "clip"];
  const MOST_PANELS = 24;
  const MOST_SINGLE = 400; // runs that are drawn one by one
  const runs = detail.runs.map((run) => {
    const [task, cell, clip] = AXES.map((axis, k) => detail.axes[axis][run.at[k]]);
    return { ...run, task, cell, clip, setting: `${cell}, ${clipped(clip)}` };
  });
  const byId = new Map(runs.map((run) => [run.run, run]));
  const draws = Boolean(window.vegaEmbed);

  // What is drawn over updates: its name, in full and beside an axis, the scale of its axis, and the edges beyond which it is drawn on them.
  const QUANTITIES = {
    loss: { name: "held-out loss / baseline", axis: "loss / baseline", log: true, edges: [1e-4, 10], worst: 10, line: 1 },
    accuracy: { name: "held-out accuracy", axis: "accuracy", share: true },
    clipped: { name: "clipped updates (share)", axis: "clipped", share: true },
    norm: { name: "gradient norm before clipping", axis: "norm", log: true, edges: [1e-4, 1e4] },
    radius: { name: "spectral radius", axis: "radius", line: 1 },
  };

  function clipped(clip) {
    if (clip === "none") return "no clipping";
    return /^\d/.test(clip) ? `clipped at ${clip}` : clip;
  }
  const make = (tag, attributes = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };
  let names = 0;
  const choice = (label, options, value) => {
    names += 1;
    const select = make("select", { id: `choice-${names}` }, ...options.map(([key, text]) => make("option", { value: key, textContent: text })));
    if (value !== undefined) select.value = value;
    return [select, make("label", { htmlFor: select.id, textContent: `${label} ` }), select];
  };
  const tick = (text, checked = false) => {
    const box = make("input", { type: "checkbox", checked });
    return [box, make("label", {}, box, ` ${text}`)];
  };
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const quantile = (ordered, share) => {
    const place = share * (ordered.length - 1);
    const [low, high] = [ordered[Math.floor(place)], ordered[Math.ceil(place)]];
    return low === high ? low : low + (high - low) * (place % 1);
  };
  // Median and quartiles over runs at each place; `missing` stands for a value that is not there.
  const bands = (lines, missing) => {
    const at = new Map();
    for (const [x, y] of lines) x.forEach((place, k) => {
      const value = y[k] ?? missing;
      if (value !== undefined && value !== null) (at.get(place) ?? at.set(place, []).get(place)).push(value);
    });
    return [...at].sort((a, b) => a[0] - b[0]).map(([x, values]) => {
      values.sort((a, b) => a - b);
      return { x, median: quantile(values, 0.5), low: quantile(values, 0.25), high: quantile(values, 0.75), n: values.length };
    });
  };
  const grouped = (items, key) => {
    const found = new Map();
    for (const item of items) (found.get(key(item)) ?? found.set(key(item), []).get(key(item))).push(item);
    return [...found.values()];
  };
  const within = (value, edges) => (edges ? Math.min(Math.max(value, edges[0]), edges[1]) : value);

  const theme = () => ({
    background: "transparent", font: "system-ui, sans-serif", aria: false, view: { stroke: color("--line") },
    axis: { labelColor: color("--ink"), titleColor: color("--ink"), gridColor: color("--line"), domainColor: color("--soft"), tickColor: color("--soft"), titleFontWeight: 400, labelFontSize: 11, titleFontSize: 12 },
    legend: { labelColor: color("--ink"), titleColor: color("--ink"), orient: "top", labelFontSize: 12, symbolOpacity: 1, symbolStrokeWidth: 3 },
    header: { labelColor: color("--ink"), titleColor: color("--ink"), labelFontSize: 12, title: null }, title: { color: color("--ink") },
  });
  const draw = async (place, spec, label) => {
    const options = { ast: true, actions: false, renderer: "canvas", config: theme(), tooltip: { theme: "custom", disableDefaultStyle: true } };
    place.replaceChildren();
    const inner = make("div");
    inner.setAttribute("role", "img");
    inner.setAttribute("aria-label", label);
    inner.append(make("div"));
    place.append(inner);
    [place.tabIndex, place.ariaLabel] = [0, "Interactive figure"]; // it may scroll sideways
    place.setAttribute("role", "group");
    const { view } = await window.vegaEmbed(inner.firstChild, { $schema: "https://vega.github.io/schema/vega-lite/v6.json", description: label, ...spec }, options);
    return view;
  };
  const say = (place, text) => place.replaceChildren(make("p", { className: "note", textContent: text }));
  const HOVER = { name: "hover", select: { type: "point", on: "pointerover", nearest: true, clear: "pointerout" } };
  const ZOOM = { name: "zoom", bind: "scales", select: { type: "interval", zoom: "wheel![event.shiftKey]" } };
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const colorOf = (cell) => (dark() ? lighter(detail.colors[cell]) : detail.colors[cell]);
  const lighter = (hex) => `#${[1, 3, 5].map((k) => Math.round(0.6 * parseInt(hex.slice(k, k + 2), 16) + 0.4 * 255).toString(16).padStart(2, "0")).join("")}`;
  const cells = () => ({ field: "cell", type: "nominal", scale: { domain: detail.axes.cell, range: detail.axes.cell.map(colorOf) }, legend: detail.axes.cell.length > 1 ? { title: "cell" } : null });
  const DECADES = Array.from({ length: 17 }, (_, k) => 10 ** (k - 8));
  const ticks = ({ log, share }) => (log ? { values: DECADES } : { tickCount: 4, ...(share ? { format: "%" } : {}) });
  const levelsIn = (rows, axis) => detail.axes[axis].filter((level) => rows.some((row) => row[axis] === level));
  const roomFor = (columns, width) => Math.max(140, Math.min(480, (width - 40) / Math.max(columns, 1) - 85));
  const shown = () => runs.filter((run) => window.bench.rowIsChosen({ dataset: run }));

  // Median and quartiles (or single runs) of lines [x, y] of runs, a panel for each task and threshold.
  const drawLines = async (place, lines, { x, y, quantity = {}, single, label }) => {
    const { edges, log, share, line } = quantity;
    const rows = [];
    for (const own of grouped(lines, ({ run }) => `${run.task}|${run.cell}|${run.clip}`)) {
      const { task, cell, clip } = own[0].run;
      for (const band of bands(own.map((one) => one.line), quantity.worst)) {
        const [median, low, high] = [band.median, band.low, band.high].map((value) => within(value, edges));
        rows.push({ kind: "band", task, cell, clip, x: band.x, median, low, high, n: band.n });
      }
      if (single) for (const { run, line: [at, values] } of own) at.forEach((u, k) => {
        const value = values[k] ?? quantity.worst;
        if (value !== undefined && value !== null) rows.push({ kind: "run", task, cell, clip, run: run.run, seed: run.seed, outcome: run.outcome, x: u, median: within(value, edges) });
      });
    }
    if (!rows.length) return say(place, "Nothing of this kind was recorded of what is chosen above.");
    const [tasks, clips] = ["task", "clip"].map((axis) => levelsIn(rows, axis));
    const panels = tasks.length * clips.length;
    if (panels > MOST_PANELS) return say(place, `${panels} panels are too many to look at: choose fewer settings above (at most ${MOST_PANELS}).`);
    const scale = { ...(log ? { type: "log" } : {}), ...(share ? { domain: [0, 1] } : log ? {} : { zero: false }), nice: false };
    const of = (kind) => ({ filter: { field: "kind", equal: kind } });
    const xs = { field: "x", type: "quantitative", title: x, scale: { nice: false, zero: false }, axis: { tickCount: 4 } };
    const ys = { field: "median", type: "quantitative", title: quantity.axis ?? y, scale, axis: ticks(quantity) };
    const layer = (k) => [
      { transform: [of("band")], mark: { type: "area", opacity: single ? 0.12 : 0.22 }, encoding: { x: xs, y: { ...ys, field: "low" }, y2: { field: "high" }, color: cells() } },
      { transform: [of("band")], mark: { type: "line", strokeWidth: 2 }, encoding: { x: xs, y: ys, color: cells() } },
      ...(single ? [{ transform: [of("run")], mark: { type: "line", strokeWidth: 0.7, opacity: 0.7 }, encoding: { x: xs, y: ys, color: cells(), detail: { field: "run" } } }] : []),
      ...(line !== undefined ? [{ data: { values: [{}] }, mark: { type: "rule", strokeDash: [4, 3], color: color("--soft") }, encoding: { y: { datum: line } } }] : []),
      {
        transform: [of(single ? "run" : "band")], params: [{ ...HOVER, name: `hover_${k}` }, { ...ZOOM, name: `zoom_${k}` }], mark: { type: "point", filled: true, size: 45 },
        encoding: {
          x: xs, y: ys, color: cells(), opacity: { condition: { param: `hover_${k}`, empty: false, value: 1 }, value: 0 },
          tooltip: [
            { field: "cell" }, { field: "clip" }, { field: "x", title: x }, { field: "median", title: single ? y : `median ${y}`, format: ".3g" },
            ...(single ? [{ field: "seed" }, { field: "outcome" }, { field: "run" }] : [{ field: "low", title: "25 %", format: ".3g" }, { field: "high", title: "75 %", format: ".3g" }, { field: "n", title: "runs" }]),
          ],
        },
      },
    ];
    const rowHead = (k) => ({ labels: k === 0, labelExpr: "datum.value == 'none' ? 'no clipping' : 'clipped at ' + datum.value" });
    const columns = Math.max(1, Math.min(tasks.length, Math.floor(place.clientWidth / 320)));
    const concat = tasks.map((task, k) => ({
      title: { text: task, fontSize: 12, fontWeight: 400 }, data: { values: rows.filter((row) => row.task === task) },
      facet: { row: { field: "clip", type: "nominal", sort: detail.axes.clip, header: rowHead(k % columns) } },
      spec: { width: roomFor(columns, place.clientWidth), height: 110, layer: layer(k) },
    }));
    const view = await draw(place, { concat, columns }, label);
    if (single) view.addEventListener("click", (_, item) => { if (item?.datum?.run) location.hash = `run-${item.datum.run}`; });
    return view;
  };

  const overUpdates = (place, bar, key) => {
    const there = Object.keys(QUANTITIES).filter((name) => runs.some((run) => run[name]));
    const [select, ...selects] = choice("Drawn", there.map((name) => [name, QUANTITIES[name].name]), key);
    const [until, ...untils] = choice("Updates", [[1, "all"], [0.5, "first half"], [0.25, "first quarter"], [0.1, "first tenth"]], 1);
    const [single, singles] = tick("single runs");
    bar.append(...selects, ...untils, singles);
    return async () => {
      const quantity = QUANTITIES[select.value];
      const own = shown().filter((run) => run[select.value]);
      const few = own.length <= MOST_SINGLE;
      single.disabled = !few;
      const lines = own.map((run) => {
        const [x, y] = run[select.value];
        const end = x.findIndex((u) => u > run.updates * until.value);
        return { run, line: end < 0 ? [x, y] : [x.slice(0, end), y.slice(0, end)] };
      });
      return drawLines(place, lines, { x: "updates", y: quantity.name, quantity, single: single.checked && few, label: `${quantity.name} by updates: median and quartiles over seeds, a panel for each task and threshold. Numbers: in the table and in the CSV file.` });
    };
  };

  const gradients = (place, bar) => {
    const own = runs.filter((run) => run.gradient);
    const moments = [...new Set(own.flatMap((run) => run.gradient.updates))].sort((a, b) => a - b);
    const [slider, output] = sliderOf(bar, "At update", moments, moments.length - 1);
    const [single, singles] = tick("single runs");
    bar.append(singles);
    return async () => {
      const at = moments[slider.value];
      output.textContent = `${at}`;
      const lines = shown().filter((run) => run.gradient).map((run) => {
        const { updates, lags, ln } = run.gradient;
        const last = updates.filter((update) => update <= at).length - 1; // a run that ended stays as it was
        return { run, line: [lags, ln[Math.max(last, 0)]] };
      });
      return drawLines(place, lines, { x: "lag (time steps)", y: "ln γ (nats)", quantity: { line: 0 }, single: single.checked && lines.length <= MOST_SINGLE, label: `Logarithm of the relative gradient by lag at update ${at}: median and quartiles over seeds. Numbers: in the CSV file.` });
    };
  };
  const sliderOf = (bar, label, moments, value) => {
    names += 1;
    const slider = make("input", { type: "range", min: 0, max: Math.max(moments.length - 1, 0), step: 1, value, id: `choice-${names}` });
    const output = make("output", { htmlFor: slider.id });
    bar.append(make("label", { htmlFor: slider.id, textContent: `${label} ` }), slider, output);
    slider.addEventListener("input", () => { output.textContent = `${moments[slider.value]}`; slider.setAttribute("aria-valuetext", `update ${moments[slider.value]}`); });
    return [slider, output];
  };

  const scores = (place) => async () => {
    const own = shown();
    if (!own.length) return say(place, "No run is chosen above.");
    const order = [...new Set(own.map((run) => run.setting))];
    if (order.length > 200) return say(place, `${order.length} settings are too many to look at: choose fewer above.`);
    const rows = own.map(({ run, task, cell, clip, seed, outcome, setting, score, solved_at, updates }) => ({ run, task, cell, clip, seed, outcome, setting, score, solved_at: solved_at ?? "never", updates }));
    const room = roomFor(levelsIn(rows, "task").length, place.clientWidth - 120);
    const y = { field: "setting", type: "nominal", sort: order, title: null };
    const tooltip = ["task", "cell", "clip", "seed", "outcome", "score", "solved_at", "updates", "run"].map((field) => ({ field }));
    const layer = [
      { mark: { type: "tick", thickness: 2, color: color("--ink") }, encoding: { x: { aggregate: "median", field: "score", type: "quantitative" }, y } },
      { mark: { type: "point", filled: true, size: 70, opacity: 0.5, cursor: "pointer" }, params: [{ ...ZOOM, select: { ...ZOOM.select, encodings: ["x"] } }], encoding: { x: { field: "score", type: "quantitative", title: "score (skill, 0 to 1)", scale: { domain: [-0.03, 1.03], nice: false } }, y, color: cells(), tooltip } },
    ];
    const view = await draw(place, { data: { values: rows }, facet: { column: { field: "task", type: "nominal", sort: detail.axes.task } }, spec: { width: room, height: { step: 16 }, layer } }, "Score of every run by setting, with medians. Every run: in the list of runs below.");
    view.addEventListener("click", (_, item) => { if (item?.datum?.run) location.hash = `run-${item.datum.run}`; });
    return view;
  };

  const drawClouds = (place, parts, at, label) => {
    const values = parts.flatMap(({ run, name, color: shade }) => {
      const { updates, blocks } = run.cloud;
      const k = Math.max(updates.filter((update) => update <= at).length - 1, 0);
      return Object.entries(blocks).flatMap(([block, clouds]) => {
        const [real, imag] = clouds[k];
        return real.flatMap((x, i) => [1, -1].slice(0, imag[i] ? 2 : 1).map((sign) => ({ panel: `${name} ${block}`, x, y: sign * imag[i], shade })));
      });
    });
    const reach = Math.max(1.1, ...parts.flatMap(({ run }) => Object.values(run.cloud.blocks).flat(2).flat().map((value) => Math.abs(value ?? 0) * 1.05)));
    const circle = Array.from({ length: 73 }, (_, k) => ({ x: Math.cos((k * Math.PI) / 36), y: Math.sin((k * Math.PI) / 36), k }));
    const panels = [...new Set(values.map((one) => one.panel))];
    const size = Math.max(130, Math.min(230, place.clientWidth / Math.min(panels.length, 4) - 60));
    const domain = [-reach, reach];
    const concat = panels.map((panel) => ({
      title: { text: panel, fontSize: 12, fontWeight: 400 }, width: size, height: size,
      layer: [
        { data: { values: circle }, mark: { type: "line", strokeWidth: 1, color: color("--soft") }, encoding: { x: { field: "x", type: "quantitative", scale: { domain }, title: "real" }, y: { field: "y", type: "quantitative", scale: { domain }, title: "imaginary" }, order: { field: "k" } } },
        { data: { values: values.filter((one) => one.panel === panel) }, params: [{ name: `zoom_${panels.indexOf(panel)}`, bind: "scales", select: ZOOM.select }], mark: { type: "point", filled: true, size: 14, opacity: 0.75 }, encoding: { x: { field: "x", type: "quantitative" }, y: { field: "y", type: "quantitative" }, color: { field: "shade", type: "nominal", scale: null }, tooltip: [{ field: "x", title: "real" }, { field: "y", title: "imaginary" }] } },
      ],
    }));
    return draw(place, { concat, columns: Math.max(1, Math.min(4, Math.floor(place.clientWidth / (size + 60)))) }, label);
  };
  const spectrum = (place, bar) => {
    const own = runs.filter((run) => run.cloud);
    const moments = [...new Set(own.flatMap((run) => run.cloud.updates))].sort((a, b) => a - b);
    const [task, ...tasks] = choice("Task", [...new Set(own.map((run) => run.task))].map((name) => [name, name]));
    const [clip, ...clips] = choice("Clipped at", [...new Set(own.map((run) => run.clip))].map((name) => [name, name]));
    const [seed, ...seeds] = choice("Seed", [...new Set(own.map((run) => run.seed))].sort((a, b) => a - b).map((name) => [name, name]));
    bar.append(...tasks, ...clips, ...seeds);
    const [slider, output] = sliderOf(bar, "Update", moments, moments.length - 1);
    return async () => {
      output.textContent = `${moments[slider.value]}`;
      const found = shown().filter((run) => run.cloud && run.task === task.value && run.clip === clip.value && String(run.seed) === seed.value);
      if (!found.length) return say(place, "No such run has eigenvalues.");
      return drawClouds(place, found.map((run) => ({ run, name: run.cell, color: colorOf(run.cell) })), moments[slider.value], `Eigenvalues of the recurrent weights in the complex plane at update ${moments[slider.value]}, with the unit circle.`);
    };
  };

  const CHARTS = {
    learning_curves: (place, bar) => overUpdates(place, bar, "loss"),
    accuracy: (place, bar) => overUpdates(place, bar, "accuracy"),
    clipping: (place, bar) => overUpdates(place, bar, "clipped"),
    scores, gradient_probe: gradients, eigenvalues: spectrum,
  };
  const NEEDS = { learning_curves: "loss", accuracy: "accuracy", clipping: "clipped", gradient_probe: "gradient", eigenvalues: "cloud" };

  // Drawn when it comes into sight, and again when a choice changes; a redraw waits for the one before.
  const live = (box, begin, height = 300) => {
    const bar = make("p", { className: "bar" });
    const place = make("div", { className: "chart" });
    place.style.minHeight = `${height}px`; // so that what is below stays where it is when this is drawn
    box.append(bar, place);
    const render = begin(place, bar);
    let [seen, busy, again] = [false, false, false];
    const update = async () => {
      if (!seen) return;
      if (busy) { again = true; return; }
      busy = true;
      do { again = false; await render(); } while (again);
      busy = false;
    };
    bar.addEventListener("input", update);
    window.bench.onChoice.push(update);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
    let width = 0;
    addEventListener("resize", () => { if (width !== box.clientWidth) { width = box.clientWidth; update(); } });
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      [seen, width] = [true, box.clientWidth];
      update();
    }, { rootMargin: "300px" }).observe(box);
    return update;
  };
  const rowsOfPanels = Math.min(detail.axes.clip.length, MOST_PANELS) * 134 + 90;
  const HEIGHTS = { scores: new Set(runs.map((run) => run.setting)).size * 16 + 80, eigenvalues: 320 };
  if (draws) for (const [name, begin] of Object.entries(CHARTS)) {
    const figure = document.getElementById(name);
    if (!figure || (NEEDS[name] && !runs.some((run) => run[NEEDS[name]]))) continue;
    const box = make("div", { className: "live" });
    figure.querySelector(".white").before(box);
    figure.classList.add("has-live");
    const update = live(box, begin, HEIGHTS[name] ?? rowsOfPanels);
    const [fixed, label] = tick("as published");
    label.className = "fixed";
    fixed.addEventListener("change", () => { figure.classList.toggle("has-live", !fixed.checked); box.hidden = fixed.checked; update(); });
    figure.querySelector("h3").after(label);
  }

  // A part for every run, which opens over the page.
  const part = document.getElementById("one-run");
  const table = (rows) => make("table", { className: "left stacked" }, make("tbody", {}, ...rows.map(([key, ...values]) => {
    const head = make("th", { textContent: key, scope: "row" });
    return make("tr", {}, head, ...values.map((value) => make("td", { textContent: value ?? "–" })));
  })));
  const framed = (rows, label) => {
    const box = make("div", { className: "scroll", tabIndex: 0 }, table(rows));
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", label);
    return box;
  };
  const small = (grid, title, render) => {
    const place = make("div", { className: "chart" });
    grid.append(make("div", {}, make("h3", { textContent: title }), place));
    return render(place);
  };
  const lineChart = (place, rows, { y, log, share, line, by, axis }) => draw(place, {
    data: { values: rows }, width: Math.max(160, place.clientWidth - 70), height: 150,
    layer: [
      { mark: { type: "line", strokeWidth: 1.6, point: { size: 14 } }, params: [ZOOM], encoding: {
        x: { field: "x", type: "quantitative", title: rows.x ?? "updates", axis: { tickCount: 4 } },
        y: { field: "y", type: "quantitative", title: axis ?? y, scale: { ...(log ? { type: "log" } : { zero: false }), ...(share ? { domain: [0, 1] } : {}) }, axis: ticks({ log, share }) },
        color: by ?? { value: color("--link") }, tooltip: [{ field: "x" }, { field: "y", title: y }, ...(by ? [{ field: by.field }] : [])],
      } },
      ...(line !== undefined ? [{ data: { values: [{}] }, mark: { type: "rule", strokeDash: [4, 3], color: color("--soft") }, encoding: { y: { datum: line } } }] : []),
    ],
  }, `${y} of this run by ${rows.x ?? "updates"}.`);
  const points = ([x, y], quantity) => x.map((u, k) => ({ x: u, y: y[k] ?? quantity.worst })).filter((row) => row.y !== undefined && row.y !== null).map((row) => ({ ...row, y: within(row.y, quantity.edges) }));

  const openRun = async (id) => {
    const run = byId.get(id);
    if (!run || !part) return;
    const place = runs.indexOf(run);
    const head = part.querySelector("h2");
    head.textContent = `Run ${id}: ${run.cell} on ${run.task}, ${clipped(run.clip)}, seed ${run.seed}`;
    const link = (step, text) => (runs[place + step] ? [make("a", { href: `#run-${runs[place + step].run}`, textContent: text }), " "] : []);
    const row = document.getElementById(`row-${id}`);
    const files = row ? [...row.querySelectorAll("td:last-child a")].flatMap((a) => [a.cloneNode(true), " "]) : [];
    const close = make("button", { type: "button", className: "plain", textContent: "Close" });
    close.addEventListener("click", () => part.close());
    const grid = make("div", { className: "grid" });
    const facts = [
      ["log ends with", run.log], ...detail.keys.map((key, k) => [key, run.own[k]]),
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    part.querySelector(".body").replaceChildren(
      make("p", {}, ...link(-1, "← previous run"), ...link(1, "next run →"), ...files, close),
      make("p", {}, make("b", { textContent: run.outcome }), [run.solved_at && ` at update ${run.solved_at}`, run.diverged_at && ` at update ${run.diverged_at}`, `; score ${run.score}, budget ${run.updates} updates.`].filter(Boolean).join("")),
      make("details", {}, make("summary", { textContent: "Settings in which runs differ, and how the log ends" }), framed(facts, `Outcome and settings of run ${id}`)), grid);
    if (!part.open) part.showModal();
    part.scrollTop = 0;
    if (!draws) return;
    for (const [name, quantity] of Object.entries(QUANTITIES)) {
      if (run[name]) await small(grid, quantity.name, (at) => lineChart(at, points(run[name], quantity), { y: quantity.name, ...quantity }));
    }
    if (run.gradient) {
      const { updates, lags, ln } = run.gradient;
      const rows = updates.flatMap((u, k) => lags.map((lag, i) => ({ x: lag, y: ln[k][i], update: u })).filter((one) => one.y !== null));
      rows.x = "lag";
      const by = { field: "update", type: "ordinal", scale: { scheme: "viridis" }, legend: { columns: 4, symbolStrokeWidth: 3 } };
      await small(grid, "gradient left, ln γ, at measured updates", (at) => lineChart(at, rows, { y: "ln γ (nats)", line: 0, by }));
    }
    if (run.cloud) {
      const box = make("div", { className: "wide" });
      grid.append(box);
      box.append(make("h3", { textContent: "eigenvalues of the recurrent weights" }));
      live(box, (at, bar) => {
        const [slider, output] = sliderOf(bar, "Update", run.cloud.updates, run.cloud.updates.length - 1);
        return () => { output.textContent = `${run.cloud.updates[slider.value]}`; return drawClouds(at, [{ run, name: "", color: colorOf(run.cell) }], run.cloud.updates[slider.value], `Eigenvalues of run ${id} with the unit circle.`); };
      });
    }
  };
  const follow = () => { if (location.hash.startsWith("#run-")) openRun(location.hash.slice(5)); };
  addEventListener("hashchange", follow);
  part?.addEventListener("close", () => history.replaceState(null, "", location.pathname));
  for (const head of document.querySelectorAll("tr[id^=row-] th")) head.replaceChildren(make("a", { href: `#run-${head.textContent}`, textContent: head.textContent }));

  // Two settings side by side.
  const compare = document.getElementById("compare-body");
  if (compare) {
    const settings = grouped(runs, (run) => `${run.task}|${run.cell}|${run.clip}`).map((own) => ({ own, name: `${own[0].task}: ${own[0].setting}` }));
    const options = settings.map(({ name }, k) => [k, name]);
    const solvers = settings.map(({ own }) => own.filter((run) => run.solved_at !== null).length / own.length);
    const best = solvers.indexOf(Math.max(...solvers));
    const worst = settings.findIndex(({ own }, k) => own[0].task === settings[best].own[0].task && solvers[k] < solvers[best]);
    live(compare, (place, bar) => {
      const [a, ...as] = choice("First", options, Math.max(best, 0));
      const [b, ...bs] = choice("Second", options, worst < 0 ? Math.min(1, settings.length - 1) : worst);
      const there = Object.keys(QUANTITIES).filter((name) => runs.some((run) => run[name]));
      const [quantity, ...quantities] = choice("Drawn", there.map((name) => [name, QUANTITIES[name].name]), there[0]);
      bar.append(...as, ...bs, ...quantities);
      return async () => {
        const two = [settings[a.value], settings[b.value]];
        const values = (own, k) => [...new Set(own.map((run) => run.own[k] || "none"))].sort().join(", ");
        const differing = detail.keys.map((key, k) => [key, ...two.map(({ own }) => values(own, k))]).filter(([, x, y]) => x !== y);
        const seeds = two.map(({ own }) => own.map((run) => run.seed).sort((x, y) => x - y));
        if (String(seeds[0]) !== String(seeds[1])) differing.push(["seeds", ...seeds.map((of) => of.join(", "))]);
        const solved = two.map(({ own }) => `${own.filter((run) => run.solved_at !== null).length}/${own.length} solved`);
        const drawn = make("div");
        const told = make("p", { textContent: tested(two.map(({ own }) => own[0])) });
        place.replaceChildren(framed([["setting", ...two.map(({ name }) => name)], ["outcome", ...solved], ...differing], "What differs in configuration"), told, drawn);
        if (!draws || two[0] === two[1]) return;
        const rows = two.flatMap(({ own, name }, k) => bands(own.filter((run) => run[quantity.value]).map((run) => run[quantity.value]), QUANTITIES[quantity.value].worst).map((band) => {
          const { edges } = QUANTITIES[quantity.value];
          return { setting: `${k + 1}. ${name}`, x: band.x, median: within(band.median, edges), low: within(band.low, edges), high: within(band.high, edges), n: band.n };
        }));
        const { log, share, name, axis } = QUANTITIES[quantity.value];
        const y = { field: "median", type: "quantitative", title: axis, scale: { ...(log ? { type: "log" } : { zero: false }), ...(share ? { domain: [0, 1] } : {}) }, axis: ticks({ log, share }) };
        const x = { field: "x", type: "quantitative", title: "updates" };
        const by = { field: "setting", type: "nominal", scale: { range: [color("--link"), color("--mark")] }, legend: { title: null, labelLimit: 400 } };
        await draw(drawn, { data: { values: rows }, width: Math.max(200, Math.min(800, place.clientWidth - 80)), height: 240, layer: [
          { mark: { type: "area", opacity: 0.2 }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color: by } },
          { mark: { type: "line", strokeWidth: 2 }, encoding: { x, y, color: by, strokeDash: { field: "setting", legend: null } } },
          { mark: { type: "point", filled: true, size: 45 }, params: [HOVER, ZOOM], encoding: { x, y, color: by, opacity: { condition: { param: "hover", empty: false, value: 1 }, value: 0 }, tooltip: [{ field: "setting" }, { field: "x", title: "updates" }, { field: "median", format: ".3g" }, { field: "low", format: ".3g" }, { field: "high", format: ".3g" }, { field: "n" }] } },
        ] }, `${name} of two settings by updates: median and quartiles over seeds.`);
      };
    });
    const tested = ([a, b]) => {
      if (a.task !== b.task) return "Settings of different tasks are not tested against each other.";
      const names = (one) => [one.cell, one.clip];
      const same = (one, two) => one[0] === two[0] && one[1] === two[1];
      for (const [task, cell, clip, cellB, clipB, n, difference, low, high, solvedP, scoreP, timeP] of detail.pairs) {
        const pair = [[cell, clip], [cellB, clipB]];
        const turned = same(names(a), pair[1]) && same(names(b), pair[0]);
        if (task !== a.task || (!turned && !(same(names(a), pair[0]) && same(names(b), pair[1])))) continue;
        const [d, from, to] = turned ? [-difference, -high, -low] : [difference, low, high];
        return `Score, first minus second: ${d.toFixed(2)} [${from.toFixed(2)}, ${to.toFixed(2)}] (95 %, n = ${n}). p, two-sided, of this comparison alone, uncorrected: solved ${solvedP}, score ${scoreP}, time to solve ${timeP}. Chosen after looking, it decides nothing.`;
      }
      return a === b ? "Choose two different settings." : "These two were not tested against each other: there are too many runs, or pairs.";
    };
  }
  follow();
})();
