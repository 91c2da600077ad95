"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const rows = new Uint32Array(bytes(data.rows));
  const n = rows.length;
  for (const v of data.variables) v.codes = new Uint16Array(bytes(v.data));
  const byName = Object.fromEntries(data.variables.map((v) => [v.name, v]));
  const value = (v, i) => v.low + (v.codes[i] / 65535) * (v.high - v.low);
  const text = (v, i) => (v.kind === "category" ? v.names[v.codes[i]] : format(value(v, i)));
  const format = (x) => (Math.abs(x) >= 1e4 ? x.toFixed(0) : String(+x.toPrecision(4)));
  const cluster = byName["cluster"];

  // ---- colours
  const RAMP = ["#2f6f9f", "#17a2a0", "#84bd80", "#e9c46a", "#dd6b43"];
  const BINS = 48;
  const mix = (a, b, t) => {
    const p = (h, k) => parseInt(h.slice(1 + 2 * k, 3 + 2 * k), 16);
    return `rgb(${[0, 1, 2].map((k) => Math.round(p(a, k) + t * (p(b, k) - p(a, k)))).join()})`;
  };
  const ramp = (t) => {
    const s = t * (RAMP.length - 1), k = Math.min(RAMP.length - 2, Math.floor(s));
    return mix(RAMP[k], RAMP[k + 1], s - k);
  };
  const wheel = (t) => `hsl(${(360 * t + 180) % 360} 52% 54%)`;
  const paint = (v) => {
    if (v.kind === "category") {
      return { bins: v.names.length, of: (i) => v.codes[i], color: (b) => data.colors[b % data.colors.length] };
    }
    const color = v.kind === "angle" ? wheel : ramp;
    return { bins: BINS, of: (i) => Math.min(BINS - 1, Math.floor((v.codes[i] / 65536) * BINS)), color: (b) => color((b + 0.5) / BINS) };
  };

  // ---- state
  const canvas = $("scatter"), ctx = canvas.getContext("2d"), tip = $("tip");
  const state = { x: null, y: null, color: null, zoom: 1, dx: 0, dy: 0, hover: -1, lit: -1, ring: -1, lasso: null, chosen: null };
  const PAD = { left: 58, right: 18, top: 30, bottom: 46 };
  let box = { w: 1, h: 1 };
  const inner = () => ({ w: box.w - PAD.left - PAD.right, h: box.h - PAD.top - PAD.bottom });
  const unit = (codes, i) => 0.03 + 0.94 * (codes[i] / 65535);
  const toX = (u) => PAD.left + (u * state.zoom + state.dx) * inner().w;
  const toY = (u) => PAD.top + (1 - (u * state.zoom + state.dy)) * inner().h;
  const px = (i) => toX(unit(state.x.codes, i)), py = (i) => toY(unit(state.y.codes, i));

  // ---- drawing
  let order = null, starts = null, brush = null;
  function sortByColor() {
    brush = paint(state.color);
    starts = new Uint32Array(brush.bins + 1);
    for (let i = 0; i < n; i++) starts[brush.of(i) + 1]++;
    for (let b = 0; b < brush.bins; b++) starts[b + 1] += starts[b];
    order = new Uint32Array(n);
    const next = starts.slice();
    for (let i = 0; i < n; i++) order[next[brush.of(i)]++] = i;
  }
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function ticks(low, high) {
    const raw = (high - low) / 6, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const out = [];
    for (let t = Math.ceil(low / step) * step; t <= high; t += step) out.push(+t.toPrecision(10));
    return out;
  }
  function axes() {
    const { w, h } = inner(), soft = css("--soft"), line = css("--line");
    ctx.font = "12px system-ui, sans-serif";
    ctx.lineWidth = 1;
    const along = (v, shift, place, horizontal) => {
      const at = (u) => v.low + ((u - 0.03) / 0.94) * (v.high - v.low);
      const low = at(-shift / state.zoom), high = at((1 - shift) / state.zoom);
      for (const t of ticks(low, high)) {
        const p = place(0.03 + (0.94 * (t - v.low)) / (v.high - v.low || 1));
        ctx.strokeStyle = line;
        ctx.beginPath();
        if (horizontal) { ctx.moveTo(p, PAD.top); ctx.lineTo(p, PAD.top + h); } else { ctx.moveTo(PAD.left, p); ctx.lineTo(PAD.left + w, p); }
        ctx.stroke();
        ctx.fillStyle = soft;
        ctx.textAlign = horizontal ? "center" : "right";
        ctx.textBaseline = horizontal ? "top" : "middle";
        ctx.fillText(format(t), horizontal ? p : PAD.left - 8, horizontal ? PAD.top + h + 7 : p);
      }
    };
    along(state.x, state.dx, toX, true);
    along(state.y, state.dy, toY, false);
    ctx.fillStyle = css("--ink");
    ctx.textAlign = "center";
    ctx.textBaseline = "alphabetic";
    ctx.fillText(state.x.name, PAD.left + w / 2, box.h - 9);
    ctx.save();
    ctx.translate(15, PAD.top + h / 2);
    ctx.rotate(-Math.PI / 2);
    ctx.fillText(state.y.name, 0, 0);
    ctx.restore();
  }
  function dots(keep, alpha, size) {
    ctx.globalAlpha = alpha;
    const half = size / 2, round = size > 2.4;
    for (let b = 0; b < brush.bins; b++) {
      if (starts[b] === starts[b + 1]) continue;
      ctx.fillStyle = brush.color(b);
      ctx.beginPath();
      for (let k = starts[b]; k < starts[b + 1]; k++) {
        const i = order[k];
        if (!keep(i)) continue;
        const x = px(i), y = py(i);
        if (x < PAD.left - 4 || x > box.w - PAD.right + 4 || y < PAD.top - 4 || y > box.h - PAD.bottom + 4) continue;
        if (round) { ctx.moveTo(x + half, y); ctx.arc(x, y, half, 0, 6.2832); } else ctx.rect(x - half, y - half, size, size);
      }
      ctx.fill();
    }
    ctx.globalAlpha = 1;
  }
  function ring(i, radius, color, width) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.arc(px(i), py(i), radius, 0, 6.2832);
    ctx.stroke();
  }
  function draw() {
    const ratio = window.devicePixelRatio || 1;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, box.w, box.h);
    axes();
    ctx.save();
    ctx.beginPath();
    ctx.rect(PAD.left, PAD.top, inner().w, inner().h);
    ctx.clip();
    const size = +$("size").value * Math.min(2, Math.sqrt(state.zoom));
    const lit = state.chosen ? (i) => state.chosen[i] : state.lit >= 0 ? (i) => cluster.codes[i] === state.lit : null;
    if (lit) { dots((i) => !lit(i), 0.12, size); dots(lit, 0.85, size); } else dots(() => true, n > 20000 ? 0.5 : 0.75, size);
    const ground = css("--panel"), ink = css("--ink");
    ctx.font = "600 11px system-ui, sans-serif";
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    data.centres.forEach((i, k) => {
      if (lit && k !== state.lit) return;
      const x = px(i), y = py(i);
      ctx.fillStyle = ground;
      ctx.strokeStyle = data.colors[k % data.colors.length];
      ctx.lineWidth = 2;
      ctx.beginPath();
      ctx.arc(x, y, 9, 0, 6.2832);
      ctx.fill();
      ctx.stroke();
      ctx.fillStyle = ink;
      ctx.fillText(String(k + 1), x, y + 0.5);
    });
    if (state.ring >= 0) { ring(state.ring, 12, css("--rust"), 3); ring(state.ring, 15, ground, 1.5); }
    if (state.hover >= 0) ring(state.hover, Math.max(5, size), ink, 1.5);
    if (state.lasso) {
      ctx.strokeStyle = css("--accent");
      ctx.fillStyle = css("--accent");
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      state.lasso.forEach(([x, y], k) => (k ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
      ctx.closePath();
      ctx.stroke();
      ctx.globalAlpha = 0.1;
      ctx.fill();
      ctx.globalAlpha = 1;
    }
    ctx.restore();
  }
  let queued = false;
  const redraw = () => { if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; draw(); }); } };

  // ---- finding points: a grid over the plane
  const CELLS = 128;
  let grid = null;
  function buildGrid() {
    const cell = (i) => (state.y.codes[i] >> 9) * CELLS + (state.x.codes[i] >> 9);
    const begin = new Uint32Array(CELLS * CELLS + 1), list = new Uint32Array(n);
    for (let i = 0; i < n; i++) begin[cell(i) + 1]++;
    for (let c = 0; c < CELLS * CELLS; c++) begin[c + 1] += begin[c];
    const next = begin.slice();
    for (let i = 0; i < n; i++) list[next[cell(i)]++] = i;
    grid = { begin, list };
  }
  function nearest(mx, my, reach) {
    const back = (p, pad, span, shift) => (((p - pad) / span - shift) / state.zoom - 0.03) / 0.94;
    const u = back(mx, PAD.left, inner().w, state.dx);
    const v = back(box.h - my, PAD.bottom, inner().h, state.dy);
    const ru = reach / (inner().w * state.zoom), rv = reach / (inner().h * state.zoom);
    const clampCell = (t) => Math.max(0, Math.min(CELLS - 1, Math.floor(t * CELLS)));
    let best = -1, bestD = reach * reach;
    for (let cy = clampCell(v - rv); cy <= clampCell(v + rv); cy++) {
      for (let cx = clampCell(u - ru); cx <= clampCell(u + ru); cx++) {
        const c = cy * CELLS + cx;
        for (let k = grid.begin[c]; k < grid.begin[c + 1]; k++) {
          const i = grid.list[k], d = (px(i) - mx) ** 2 + (py(i) - my) ** 2;
          if (d < bestD) { bestD = d; best = i; }
        }
      }
    }
    return best;
  }

  // ---- the panel
  function legend() {
    const v = state.color, home = $("legend");
    home.textContent = "";
    if (v.kind === "category") {
      const chips = document.createElement("div");
      chips.className = "chips";
      v.names.slice(0, 60).forEach((name, k) => {
        const chip = document.createElement("span"), dot = document.createElement("i");
        dot.style.background = data.colors[k % data.colors.length];
        chip.append(dot, name);
        chips.append(chip);
      });
      home.append(chips);
      return;
    }
    const bar = document.createElement("div"), ends = document.createElement("div");
    bar.className = "bar";
    ends.className = "ends";
    const color = v.kind === "angle" ? wheel : ramp;
    bar.style.background = `linear-gradient(90deg, ${Array.from({ length: 13 }, (_, k) => color(k / 12)).join()})`;
    for (const end of [v.low, v.high]) { const s = document.createElement("span"); s.textContent = format(end); ends.append(s); }
    home.append(bar, ends);
  }
  function focusOn(k) {
    const figure = $("focus"), card = document.querySelector(`.card[data-cluster="${k}"]`);
    for (const c of document.querySelectorAll(".card")) c.setAttribute("aria-pressed", String(+c.dataset.cluster === state.lit));
    if (!card) return;
    const source = card.querySelector(".surface"), image = figure.querySelector("img");
    image.src = source.src;
    image.alt = source.alt;
    figure.querySelector("figcaption").textContent = `Cluster ${k + 1}: ${data.sizes[k].toLocaleString("en")} particles`;
    figure.hidden = false;
  }
  function hover(mx, my) {
    const i = nearest(mx, my, 12);
    if (i === state.hover) return;
    state.hover = i;
    tip.hidden = i < 0;
    if (i >= 0) {
      const lines = [`row ${rows[i]} · cluster ${cluster.codes[i] + 1}`];
      if (state.color !== cluster) lines.push(`${state.color.name}: ${text(state.color, i)}`);
      tip.textContent = "";
      for (const line of lines) { const div = document.createElement("div"); div.textContent = line; tip.append(div); }
      const x = px(i), y = py(i);
      tip.style.left = `${Math.min(x + 12, box.w - tip.offsetWidth - 8)}px`;
      tip.style.top = `${Math.max(8, y - tip.offsetHeight - 10)}px`;
      focusOn(cluster.codes[i]);
    } else focusOn(state.lit);
    redraw();
  }
  function light(k) {
    state.lit = state.lit === k ? -1 : k;
    state.chosen = null;
    $("selection").hidden = true;
    focusOn(state.lit);
    redraw();
  }

  // ---- selecting
  function choose(polygon) {
    const chosen = new Uint8Array(n);
    let count = 0;
    for (let i = 0; i < n; i++) {
      const x = px(i), y = py(i);
      let inside = false;
      for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
        const [ax, ay] = polygon[a], [bx, by] = polygon[b];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      }
      if (inside) { chosen[i] = 1; count++; }
    }
    state.chosen = count ? chosen : null;
    $("selection").hidden = !count;
    $("selected").textContent = count.toLocaleString("en") + (n < data.count ? ` of the ${n.toLocaleString("en")} shown` : "");
  }
  function save(inverse) {
    if (!state.chosen) return;
    const list = [];
    for (let i = 0; i < n; i++) if (Boolean(state.chosen[i]) !== inverse) list.push(rows[i]);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([list.join("\n") + "\n"], { type: "text/plain" }));
    link.download = inverse ? "rows_inverse.txt" : "rows.txt";
    link.click();
    URL.revokeObjectURL(link.href);
  }
  $("save").onclick = () => save(false);
  $("save-others").onclick = () => save(true);
  $("clear").onclick = () => { state.chosen = null; $("selection").hidden = true; redraw(); };

  // ---- pointer and keys
  const at = (event) => { const r = canvas.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
  let held = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = at(event);
    held = { x, y, moved: false };
    if (event.shiftKey) state.lasso = [[x, y]];
  };
  canvas.onpointermove = (event) => {
    const [x, y] = at(event);
    if (!held) return hover(x, y);
    held.moved ||= Math.hypot(x - held.x, y - held.y) > 3;
    if (state.lasso) state.lasso.push([x, y]);
    else if (held.moved) {
      state.dx += (x - held.x) / inner().w;
      state.dy -= (y - held.y) / inner().h;
      held.x = x;
      held.y = y;
    }
    redraw();
  };
  canvas.onpointerup = () => {
    if (state.lasso) { choose(state.lasso); state.lasso = null; state.lit = -1; } else if (held && !held.moved) light(state.hover >= 0 ? cluster.codes[state.hover] : -1);
    held = null;
    redraw();
  };
  canvas.onpointerleave = () => { if (!held) { state.hover = -1; tip.hidden = true; focusOn(state.lit); redraw(); } };
  function zoomBy(factor, mx, my) {
    const zoom = Math.max(0.5, Math.min(200, state.zoom * factor)), f = zoom / state.zoom;
    const cx = (mx - PAD.left) / inner().w, cy = (box.h - PAD.bottom - my) / inner().h;
    state.dx = cx - (cx - state.dx) * f;
    state.dy = cy - (cy - state.dy) * f;
    state.zoom = zoom;
    redraw();
  }
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoomBy(Math.exp(-event.deltaY / 400), ...at(event)); }, { passive: false });
  const reset = () => { Object.assign(state, { zoom: 1, dx: 0, dy: 0 }); redraw(); };
  canvas.ondblclick = reset;
  canvas.onkeydown = (event) => {
    const step = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (step) { state.dx += step[0]; state.dy += step[1]; redraw(); }
    else if (event.key === "+" || event.key === "=") zoomBy(1.25, box.w / 2, box.h / 2);
    else if (event.key === "-") zoomBy(0.8, box.w / 2, box.h / 2);
    else if (event.key === "0") reset();
    else return;
    event.preventDefault();
  };

  // ---- controls
  const numeric = data.variables.filter((v) => v.kind !== "category");
  const fill = (select, list) => { for (const v of list) select.add(new Option(v.name, v.name)); };
  fill($("axis-x"), numeric);
  fill($("axis-y"), numeric);
  fill($("color"), data.variables);
  function show(x, y) {
    state.x = byName[x];
    state.y = byName[y];
    $("axis-x").value = x;
    $("axis-y").value = y;
    for (const b of $("presets").children) b.setAttribute("aria-pressed", String(b.dataset.x === x && b.dataset.y === y));
    buildGrid();
    reset();
  }
  for (const [name, x, y] of data.presets) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    Object.assign(button.dataset, { x, y });
    button.onclick = () => show(x, y);
    $("presets").append(button);
  }
  $("presets").hidden = data.presets.length < 2;
  $("axis-x").onchange = $("axis-y").onchange = () => show($("axis-x").value, $("axis-y").value);
  $("color").onchange = () => { state.color = byName[$("color").value]; sortByColor(); legend(); redraw(); };
  $("size").value = Math.max(0.75, Math.min(4, 260 / Math.sqrt(n) - 1));
  $("size").oninput = redraw;
  for (const card of document.querySelectorAll(".card")) card.onclick = () => light(+card.dataset.cluster);
  const views = $("views");
  if (views) {
    views.onclick = (event) => {
      const view = event.target.dataset.view;
      if (!view) return;
      for (const b of views.children) b.setAttribute("aria-pressed", String(b === event.target));
      for (const image of document.querySelectorAll(".card .view")) image.hidden = !image.classList.contains(view);
    };
  }

  // ---- movies
  for (const figure of document.querySelectorAll(".player")) {
    const path = data.paths[+figure.dataset.path], image = figure.querySelector("img");
    const slider = figure.querySelector("input"), button = figure.querySelector(".play"), output = figure.querySelector("output");
    const frames = path.frames.map((src) => { const f = new Image(); f.src = src; return f; });
    const last = frames.length - 1;
    let timer = 0, step = 1;
    const showFrame = (k) => {
      image.src = frames[k].src;
      slider.value = k;
      output.textContent = path.captions[k];
      state.ring = path.nearest[k];
      redraw();
    };
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = "▶"; };
    slider.oninput = () => { stop(); showFrame(+slider.value); };
    button.onclick = () => {
      if (timer) return stop();
      button.textContent = "❚❚";
      timer = setInterval(() => {
        const k = +slider.value;
        if (k + step > last || k + step < 0) step = -step;
        showFrame(Math.max(0, Math.min(last, k + step)));
      }, 150);
    };
  }

  // ---- light and dark
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (on) => { document.documentElement.classList.toggle("dark", on); document.documentElement.style.colorScheme = on ? "dark" : "light"; redraw(); };
  $("theme").onclick = () => setTheme(!document.documentElement.classList.contains("dark"));
  dark.onchange = (event) => setTheme(event.matches);

  state.color = byName[data.variables.some((v) => v.name === "cluster") ? "cluster" : data.variables[0].name];
  $("color").value = state.color.name;
  sortByColor();
  legend();
  focusOn(data.sizes.indexOf(Math.max(...data.sizes)));
  show(data.presets[0][1], data.presets[0][2]);
  new ResizeObserver(() => {
    const r = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    box = { w: r.width, h: r.height };
    canvas.width = Math.round(r.width * ratio);
    canvas.height = Math.round(r.height * ratio);
    redraw();
  }).observe(canvas);
  setTheme(dark.matches);
})();
