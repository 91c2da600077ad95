// The page's head: which run this is, how large, in which state, and what is amiss with it.

import { count, figure, h } from "./dom.js";
import { helpButton } from "./keys.js";

/** Build the header and, below it, the server's warnings. */
export function header(run, theme) {
  const facts = [
    run.method,
    Number.isFinite(run.epoch) ? `epoch ${run.epoch}` : null,
    `${count(run.particles)} particles`,
    run.zdim ? `${run.zdim} latent dimension${run.zdim === 1 ? "" : "s"}` : null,
    run.box ? `${run.box} px` : null,
    run.pixelSize ? `${figure(run.pixelSize)} Å/px` : null,
  ].filter(Boolean);
  const state = h("span", { class: "pill live", hidden: true });
  const node = h("header", { class: "top" },
    h("div", { class: "bar" },
      h("img", { src: "favicon.svg", alt: "", width: 20, height: 20 }),
      h("h1", { text: run.name, title: run.folder }),
      h("ul", { class: "facts" }, ...facts.map((text) => h("li", { text }))),
      h("span", { class: "grow" }),
      state,
      run.state === "training" ? h("span", { class: "pill live", text: "training · read-only" }) : null,
      helpButton(), theme));
  const shown = new Set();
  /** Show a warning of the server, once. */
  node.warn = (line) => {
    if (shown.has(line)) return;
    shown.add(line);
    const bar = h("p", { class: "warning", role: "status" }, h("span", { text: line }),
      h("button", { type: "button", class: "button quiet", title: "Dismiss", text: "×", onclick: () => bar.remove() }));
    node.append(bar);
  };
  /** Say what is under way; returns what ends it. */
  node.say = (text) => {
    state.textContent = text;
    state.hidden = false;
    return () => (state.hidden = true);
  };
  run.warnings.forEach(node.warn);
  return node;
}
