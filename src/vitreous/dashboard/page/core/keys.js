// Keys for what is done often, and the card that lists them.

import { button, h } from "./dom.js";

const CARD = [
  ["V", "move and pick"],
  ["L", "lasso; Shift adds, Alt takes away, both intersect"],
  ["P", "draw a path"],
  ["Alt click", "on axes of raw latents: decode that very point"],
  ["0", "show all particles"],
  ["← ↑ → ↓ + −", "move and zoom the focused plot"],
  ["Ctrl Z / Ctrl Shift Z", "undo / redo a selection"],
  ["Esc", "stop drawing"],
  ["?", "this card"],
];

let card;

function showCard() {
  if (!card) {
    card = h("dialog", { class: "keys", "aria-label": "Keys" },
      h("h2", { text: "Keys" }),
      h("dl", {}, ...CARD.flatMap(([key, what]) => [h("dt", {}, h("kbd", { text: key })), h("dd", { text: what })])),
      h("form", { method: "dialog" }, button({ text: "Close", kind: "primary", type: "submit" })));
    document.body.append(card);
  }
  card.showModal();
}

/** The button that shows the card. */
export const helpButton = () => button({ text: "?", title: "Keys (?)", kind: "quiet", onclick: showCard });

/** Listen for the page's keys; keys typed into a field stay the field's. */
export function shortcuts(latent, selection) {
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input:not([type=range]):not([type=checkbox]), select, textarea, dialog")) return;
    const key = event.key.toLowerCase();
    if ((event.ctrlKey || event.metaKey) && (key === "z" || key === "y")) {
      event.preventDefault();
      if (event.shiftKey || key === "y") selection.redo();
      else selection.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tool = { v: "pan", l: "lasso", p: "draw" }[key];
    if (tool && !(latent.plot.solid && tool !== "pan")) latent.setTool(tool);
    else if (key === "0") latent.plot.reset();
    else if (key === "?") showCard();
  });
}
