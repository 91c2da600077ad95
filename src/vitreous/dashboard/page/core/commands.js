// The command log: what each action on the page would be in a shell.

import { button, h } from "./dom.js";
import { onCommand } from "./api.js";

/** Copy text; a page without clipboard permission falls back to a hidden text field. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, class: "offscreen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** A button that copies `text()` and says so. */
export function copyButton(text, title = "Copy the command") {
  const node = button({ name: "copy", title, kind: "quiet" });
  node.addEventListener("click", async () => {
    await copyText(text());
    node.classList.add("done");
    node.title = "Copied";
    setTimeout(() => {
      node.classList.remove("done");
      node.title = title;
    }, 1200);
  });
  return node;
}

/** The bar at the foot of the page: the last command, and all of them when opened. */
export function commandLog() {
  const entries = [];
  const last = h("code", { class: "last", text: "Each action shows its command here." });
  const list = h("ol", { class: "log-list" });
  const number = h("span", { class: "badge", text: "0" });
  const toggle = h("button", {
    type: "button",
    class: "button quiet",
    "aria-expanded": "false",
    "aria-controls": "log-list",
    onclick: () => {
      const open = node.classList.toggle("open");
      toggle.setAttribute("aria-expanded", open);
    },
  });
  toggle.append(h("span", { text: "Commands" }), number);
  list.id = "log-list";
  const all = button({ name: "copy", text: "Copy all", kind: "quiet" });
  all.addEventListener("click", () => copyText([...entries].reverse().join("\n")));
  const copyLast = copyButton(() => entries[0] || "");
  copyLast.disabled = true;
  const node = h(
    "footer",
    { class: "commands", "aria-label": "Equivalent commands" },
    h("div", { class: "log-body" }, h("div", { class: "row end" }, all), list),
    h("div", { class: "log-bar" }, toggle, h("span", { class: "prompt", text: "$" }), last, copyLast),
  );
  onCommand((command) => {
    if (entries[0] === command) return;
    entries.unshift(command);
    last.textContent = command;
    last.title = command;
    number.textContent = entries.length;
    copyLast.disabled = false;
    const time = new Date().toTimeString().slice(0, 8);
    list.prepend(
      h("li", {}, h("time", { text: time }), h("code", { text: command }), copyButton(() => command)),
    );
  });
  return node;
}
