"use strict";
(() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const curves = JSON.parse(document.getElementById("curves").textContent);

  function compare(a, b, direction) {
    // Rows without a value stay last whichever way the column is sorted.
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return direction === "ascending" ? order : -order;
  }

  function sort(table, heading) {
    const index = heading.cellIndex;
    const current = heading.getAttribute("aria-sort");
    const turned = current === "ascending" ? "descending" : "ascending";
    const direction = current ? turned : heading.dataset.first;
    all(table, "[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction);
    for (const body of table.tBodies) {
      const rows = all(body, "tr[data-key]");
      rows.sort((a, b) => compare(a.cells[index].dataset.value, b.cells[index].dataset.value, direction));
      body.append(...rows);
    }
  }

  function filter(section) {
    const tools = section.querySelector(".tools");
    const text = tools.querySelector("[name=text]").value.trim().toLowerCase();
    const transform = tools.querySelector("[name=transform]")?.value ?? "";
    const references = tools.querySelector("[name=references]").checked;
    const rows = all(section, ".board tr[data-key]");
    const shown = new Set();
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(text) && (!transform || row.dataset.transform === transform);
      if (fits && (references || row.dataset.reference === "no")) shown.add(row.dataset.key);
    }
    all(section, "[data-key]").forEach((part) => part.toggleAttribute("hidden", !shown.has(part.dataset.key)));
    for (const block of all(section, "[data-references]")) {
      const scope = block.matches(".bars-note") ? block.nextElementSibling : block;
      block.hidden = !scope.querySelector("[data-key]:not([hidden])");
    }
    tools.querySelector(".count").textContent = shown.size === rows.length ? "" : `${shown.size} of ${rows.length} rows`;
  }

  function light(section, key) {
    section.classList.toggle("lit-one", Boolean(key && section.querySelector(`.curve[data-key="${key}"]`)));
    all(section, "[data-key]").forEach((part) => part.classList.toggle("lit", part.dataset.key === key));
  }

  function nearest(points, step) {
    return points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  }

  function line(paint, name, value) {
    const row = document.createElement("div");
    const swatch = document.createElement("i");
    const figure = document.createElement("b");
    swatch.className = `key ${paint}`;
    figure.textContent = value.toFixed(2).replace("-", "\u2212");
    row.append(swatch, name, figure);
    return row;
  }

  function panel(section, figure) {
    const data = curves[figure.dataset.panel];
    const plot = figure.querySelector(".plot");
    const [crosshair, readout] = [plot.querySelector(".crosshair"), plot.querySelector(".readout")];
    const steps = [...new Set(data.series.flatMap((series) => series.points.map((point) => point[0])))].sort((a, b) => a - b);
    let place = steps.length - 1;

    function show(step) {
      const visible = data.series.filter((series) => !section.querySelector(`.curve[data-key="${series.key}"]`).hasAttribute("hidden"));
      const read = visible.map((series) => [series, nearest(series.points, step)]).sort((a, b) => b[1][1] - a[1][1]);
      const share = step / data.last;
      const title = document.createElement("span");
      title.textContent = `step ${step.toLocaleString("en")}`;
      readout.replaceChildren(title, ...read.map(([series, point]) => line(series.paint, series.name, point[1])));
      crosshair.hidden = readout.hidden = read.length === 0;
      crosshair.style.left = `${100 * share}%`;
      readout.style.left = share > 0.5 ? "auto" : `calc(${100 * share}% + 0.6rem)`;
      readout.style.right = share > 0.5 ? `calc(${100 * (1 - share)}% + 0.6rem)` : "auto";
    }
    function hide() {
      crosshair.hidden = readout.hidden = true;
    }
    function point(event) {
      const box = plot.getBoundingClientRect();
      const step = data.last * Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
      place = steps.reduce((best, value, index) => (Math.abs(value - step) < Math.abs(steps[best] - step) ? index : best), 0);
      show(steps[place]);
    }
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("focus", () => plot.matches(":focus-visible") && show(steps[place]));
    plot.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: steps.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (move === undefined) return;
      event.preventDefault();
      place = Math.min(Math.max(move, 0), steps.length - 1);
      show(steps[place]);
    });
  }

  function videos(section) {
    const clips = all(section, "video");
    const button = section.querySelector(".play-all");
    const gone = section.querySelector("[data-videos-gone]");
    const present = () => clips.filter((clip) => clip.isConnected);
    function lose(clip) {
      clip.closest("figure").remove();
      gone.hidden = false;
      const folder = clips[0].getAttribute("src").replace(/[^/]*$/, "");
      gone.textContent = `${clips.length - present().length} of ${clips.length} videos are not beside this page (expected in ${decodeURIComponent(folder)}).`;
      button.hidden = present().length === 0;
    }
    clips.forEach((clip) => (clip.error ? lose(clip) : clip.addEventListener("error", () => lose(clip))));
    button.hidden = present().length === 0;
    button.addEventListener("click", () => {
      const play = button.textContent === "Play all";
      button.textContent = play ? "Pause all" : "Play all";
      present().forEach((clip) => (play ? clip.play().catch(() => {}) : clip.pause()));
    });
  }

  for (const section of all(document, ".task")) {
    const table = section.querySelector(".board");
    all(table, "thead button").forEach((button) => button.addEventListener("click", () => sort(table, button.parentElement)));
    section.querySelector(".tools").hidden = false;
    section.querySelector(".tools").addEventListener("input", () => filter(section));
    all(section, ".board tr[data-key], .chips li, .bar").forEach((part) => {
      part.addEventListener("pointerenter", () => light(section, part.dataset.key));
      part.addEventListener("pointerleave", () => light(section, null));
    });
    all(section, "[data-panel]").forEach((figure) => panel(section, figure));
    if (section.querySelector("video")) videos(section);
  }
})();
