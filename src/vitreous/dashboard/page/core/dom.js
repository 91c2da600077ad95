// Small helpers to make elements; the page has no framework.

/** Make an element: properties (on… are listeners, data-/aria- and others attributes), children. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (key === "text") node.textContent = value;
    else if (key in node && !key.includes("-") && key !== "list" && key !== "form") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** Make an SVG element. */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) if (value !== undefined) node.setAttribute(key, value);
  node.append(...children.flat());
  return node;
}

const ICONS = {
  pan: "M8 1.5v13M1.5 8h13M8 1.5 6 3.5M8 1.5l2 2M8 14.5l-2-2M8 14.5l2-2M1.5 8l2-2M1.5 8l2 2M14.5 8l-2-2M14.5 8l-2 2",
  lasso: "M3 10.5C1.5 6 4 2.5 8.5 2.5S14.5 5 13.5 8 8.5 11.5 5.5 10.5 4 13.5 5.5 14.5",
  reset: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  undo: "M3 6.5h6.5a3.5 3.5 0 0 1 0 7H6M3 6.5l3-3M3 6.5l3 3",
  redo: "M13 6.5H6.5a3.5 3.5 0 0 0 0 7H10M13 6.5l-3-3M13 6.5l-3 3",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  play: "M4.5 2.5l9 5.5-9 5.5z",
  pause: "M5 3v10M11 3v10",
  plus: "M8 3v10M3 8h10",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3 5.5 5.5 0 1 0 13 9.5z",
  sun: "M8 5a3 3 0 1 0 .01 0zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  save: "M8 2v8M8 10l-3-3M8 10l3-3M2.5 12v2h11v-2",
  compare: "M2 3h5v10H2zM9 3h5v10H9z",
  trash: "M3 4.5h10M6 4.5V3h4v1.5M4.5 4.5l.5 9h6l.5-9",
  cube: "M8 1.5l5.5 3v7L8 14.5l-5.5-3v-7zM2.5 4.5L8 7.5l5.5-3M8 7.5v7",
  draw: "M2.5 13.5c3-1 2-5 5-5s1 4 6-6M2.5 13.5l.01 0",
};

/** Draw one of the page's line icons. */
export function icon(name) {
  const node = svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" });
  node.append(svg("path", { d: ICONS[name] }));
  return node;
}

/** A button with an icon, a text, or both; `title` is also its accessible name. */
export function button({ name, text, title, kind = "", ...rest }) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`, title, "aria-label": title || text, ...rest },
    name ? icon(name) : null,
    text ? h("span", { text }) : null,
  );
}

/** A select element over [{value, label, group?}], groups becoming optgroups. */
export function select(options, { value, onchange, label, ...rest }) {
  const node = h("select", { "aria-label": label, ...rest });
  /** Offer other options; the chosen one stays, where it is still among them. */
  node.offer = (list) => {
    const kept = node.value;
    const groups = new Map();
    node.replaceChildren();
    for (const option of list) {
      const entry = h("option", { value: option.value, text: option.label });
      if (option.group && !groups.has(option.group)) {
        groups.set(option.group, h("optgroup", { label: option.group }));
        node.append(groups.get(option.group));
      }
      (groups.get(option.group) || node).append(entry);
    }
    node.value = kept;
  };
  node.offer(options);
  node.value = value === undefined ? (options[0]?.value ?? "") : value;
  if (onchange) node.addEventListener("change", () => onchange(node.value));
  return node;
}

/** Buttons of which exactly one is pressed. */
export function segmented(options, { value, onchange, label }) {
  const node = h("div", { class: "segmented", role: "radiogroup", "aria-label": label });
  const paint = () => {
    for (const child of node.children) {
      const on = child.dataset.value === node.value;
      child.setAttribute("aria-checked", on);
      child.tabIndex = on ? 0 : -1;
    }
  };
  const choose = (next, tell = true) => {
    node.value = next;
    paint();
    if (tell && onchange) onchange(next);
  };
  for (const option of options) {
    node.append(
      h(
        "button",
        { type: "button", role: "radio", title: option.title, "data-value": option.value, onclick: () => choose(option.value) },
        option.icon ? icon(option.icon) : null,
        option.label ? h("span", { text: option.label }) : null,
      ),
    );
  }
  node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const at = options.findIndex((o) => o.value === node.value);
    const next = options[(at + step + options.length) % options.length];
    choose(next.value);
    node.querySelector(`[data-value="${next.value}"]`).focus();
    event.preventDefault();
  });
  node.choose = (next) => choose(next, false);
  choose(value, false);
  return node;
}

/** What a pane shows instead of content: waiting, nothing yet, or the server's one line. */
export function notice(kind, title, detail, ...actions) {
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : "status" },
    kind === "loading" ? h("span", { class: "spinner", "aria-hidden": "true" }) : null,
    h("strong", { text: title }),
    detail ? h("p", { text: detail }) : null,
    actions.length ? h("div", { class: "row" }, ...actions) : null,
  );
}

const THIN = "\u202f";

/** 1234567 → 1 234 567 with thin spaces. */
export const count = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, THIN);

/** A number in three or four significant figures. */
export function figure(x) {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return x.toExponential(2).replace("-", "\u2212");
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return x.toFixed(digits).replace("-", "\u2212");
}
