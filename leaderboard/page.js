"use strict";
(() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const grids = JSON.parse(document.getElementById("grids").textContent);

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

  const player = document.querySelector(".player");
  const whenIdle = window.requestIdleCallback ?? setTimeout;
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");

  function play(title, source) {
    const [screen, gone] = [player.querySelector(".screen"), player.querySelector(".player-gone")];
    const video = document.createElement("video");
    Object.assign(video, { controls: true, muted: true, playsInline: true, loop: !stillness.matches });
    video.setAttribute("aria-label", title);
    video.addEventListener("error", () => {
      video.remove();
      gone.hidden = false;
      gone.textContent = `The video is not beside this page (expected at ${decodeURIComponent(source)}).`;
    });
    video.src = source;
    player.querySelector("#player-title").textContent = title;
    gone.hidden = true;
    screen.replaceChildren(video);
    player.showModal();
    video.play().catch(() => {});
  }

  function dialog() {
    player.querySelector(".close").addEventListener("click", () => player.close());
    player.addEventListener("click", (event) => event.target === player && player.close());
    player.addEventListener("close", () => player.querySelector(".screen").replaceChildren());
    for (const link of all(document, "[data-video]")) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        play(link.dataset.video, link.getAttribute("href"));
      });
    }
  }

  function grid(section) {
    const table = section.querySelector("[data-grid]");
    const data = grids[table.dataset.grid];
    const readout = section.querySelector("[data-readout]");
    const cells = all(table, "tr").map((row) => all(row, "td:not(.total)"));
    const places = new Map(cells.flatMap((row, y) => row.map((cell, x) => [cell, [y, x]])));

    function words([y, x]) {
      const [row, seed] = [data.rows[y], data.seeds[x]];
      if (row.outcomes[x] === null) return `${row.name}, seed ${seed}: not run`;
      return `${row.name}, seed ${seed}: ${data.labels[row.outcomes[x]]} after ${row.steps[x]} steps`;
    }
    function video([y, x]) {
      return data.rows[y].videos[data.seeds[x]];
    }
    function watch(place) {
      const source = video(place);
      readout.textContent = `${words(place)}.${source ? "" : " No video of this episode was kept."}`;
      if (source) play(words(place), source);
    }
    function enter(cell) {
      all(table, "td[tabindex='0']").forEach((other) => (other.tabIndex = -1));
      cell.tabIndex = 0;
      cell.focus();
    }
    function step(y, x, down) {
      // Filtered rows are passed over.
      for (let next = y + down; next >= 0 && next < cells.length; next += down) {
        if (!cells[next][0].parentElement.hidden) return cells[next][x];
      }
      return cells[y][x];
    }

    table.setAttribute("role", "grid");
    cells[0][0].tabIndex = 0;
    // Tens of thousands of cells on a page of many tasks: the page must not wait for their names.
    // A cell that is focused sooner is named at once.
    function name(place, cell) {
      cell.setAttribute("aria-label", `${words(place)}${video(place) ? ", video" : ""}`);
    }
    whenIdle(() => places.forEach(name));
    table.addEventListener("pointerover", (event) => {
      if (places.has(event.target)) readout.textContent = `${words(places.get(event.target))}.`;
    });
    table.addEventListener("focusin", (event) => {
      if (!places.has(event.target)) return;
      name(places.get(event.target), event.target);
      readout.textContent = `${words(places.get(event.target))}.`;
    });
    table.addEventListener("click", (event) => {
      if (!places.has(event.target)) return;
      enter(event.target);
      watch(places.get(event.target));
    });
    table.addEventListener("keydown", (event) => {
      if (!places.has(event.target)) return;
      const [y, x] = places.get(event.target);
      const last = cells[y].length - 1;
      const targets = {
        ArrowLeft: () => cells[y][Math.max(x - 1, 0)],
        ArrowRight: () => cells[y][Math.min(x + 1, last)],
        ArrowUp: () => step(y, x, -1),
        ArrowDown: () => step(y, x, 1),
        Home: () => cells[y][0],
        End: () => cells[y][last],
      };
      if (event.key === "Enter" || event.key === " ") watch([y, x]);
      else if (targets[event.key]) enter(targets[event.key]());
      else return;
      event.preventDefault();
    });
    return () => {
      // A row that the filter hides must not hold the one cell that Tab reaches.
      const held = table.querySelector("td[tabindex='0']");
      const first = all(table, "tr:not([hidden]) td:not(.total)")[0];
      if (held && first && held.parentElement.hidden) [held.tabIndex, first.tabIndex] = [-1, 0];
    };
  }

  function theme() {
    const button = document.querySelector(".theme");
    const root = document.documentElement;
    const preferred = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.style.colorScheme ? root.style.colorScheme === "dark" : preferred.matches);
    const label = () => (button.textContent = dark() ? "Light" : "Dark");
    button.hidden = false;
    button.addEventListener("click", () => {
      root.style.colorScheme = dark() ? "light" : "dark";
      label();
    });
    preferred.addEventListener("change", label);
    label();
  }

  for (const section of all(document, ".task")) {
    const table = section.querySelector(".board");
    all(table, "thead button").forEach((button) => button.addEventListener("click", () => sort(table, button.parentElement)));
    section.querySelector(".tools").hidden = false;
    const settle = grid(section);
    section.querySelector(".tools").addEventListener("input", () => {
      filter(section);
      settle();
    });
    all(section, "tr[data-key], .chips li[data-key], .bar").forEach((part) => {
      part.addEventListener("pointerenter", () => light(section, part.dataset.key));
      part.addEventListener("pointerleave", () => light(section, null));
    });
    all(section, "[data-panel]").forEach((figure) => panel(section, figure));
    if (section.querySelector("video")) videos(section);
  }
  // Beside the shadow at its edge, a line says that a part scrolls; only while it does.
  function hint(part) {
    const line = document.createElement("p");
    line.className = "scroll-hint";
    line.textContent = "Scroll sideways to see all of it.";
    part.before(line);
    new ResizeObserver(() => (line.hidden = part.scrollWidth <= part.clientWidth)).observe(part);
    line.hidden = part.scrollWidth <= part.clientWidth;
  }

  all(document, ".scroll").forEach(hint);
  all(document, "[data-scripted]").forEach((part) => (part.hidden = false));
  dialog();
  theme();
})();
