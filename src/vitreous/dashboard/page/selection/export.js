// Write the selection, or all but it, to a file that other programs read.

import { postJson } from "../core/api.js";
import { button, count, h, segmented } from "../core/dom.js";

const FORMATS = [
  { value: "star", label: "STAR", title: "RELION, all columns kept" },
  { value: "cs", label: ".cs", title: "cryoSPARC, uids kept" },
  { value: "index", label: "Index", title: "Numbers of the particles" },
  { value: "csv", label: "CSV", title: "A table of all columns" },
];

/** The export form. */
export function exportForm(store) {
  const name = h("input", { type: "text", value: "selection", "aria-label": "Name of the file", spellcheck: false });
  const format = segmented(FORMATS, { value: "star", label: "Format" });
  const inverse = h("input", { type: "checkbox" });
  const write = button({ name: "save", text: "Write file", kind: "primary" });
  const say = h("p", { class: "result", "aria-live": "polite" });
  const paint = () => {
    write.disabled = !store.get("rule");
  };
  write.addEventListener("click", async () => {
    write.disabled = true;
    say.className = "result";
    say.textContent = "Writing…";
    try {
      const done = await postJson("api/selections/export", {
        rule: store.get("rule"), name: name.value.trim() || "selection", format: format.value, inverse: inverse.checked,
      });
      say.replaceChildren(`${count(done.count)} particles → `, h("code", { text: done.path }));
    } catch (error) {
      say.className = "result error";
      say.textContent = error.message;
    }
    paint();
  });
  store.on("rule", paint);
  paint();
  return h("section", { class: "export" }, h("header", {}, h("h2", { text: "Export" })),
    format,
    h("div", { class: "row" }, name, write),
    h("label", { class: "check" }, inverse, h("span", { text: "all but the selected (inverse)" })),
    say);
}
