// Named selections, kept in the run's folder.

import { getJson, put, remove } from "../core/api.js";
import { button, count, h } from "../core/dom.js";

/** The list of saved selections and the field that adds one. */
export function savedList(selection, store, run) {
  const list = h("ul", { class: "saved" });
  const name = h("input", { type: "text", placeholder: "name", "aria-label": "Name of the selection", spellcheck: false });
  const keep = button({ name: "save", text: "Save", title: "Keep the selection under this name" });
  const say = h("p", { class: "faint", "aria-live": "polite" });

  const load = async () => {
    try {
      const found = await getJson("api/selections", { quiet: true });
      list.replaceChildren(...found.map(row));
      if (!found.length) list.append(h("li", { class: "hint", text: "None saved yet." }));
      say.textContent = "";
    } catch (error) {
      say.textContent = error.message;
    }
  };
  const row = (saved) =>
    h(
      "li",
      { class: "row tight" },
      h("button", {
        type: "button", class: "link grow", title: "Add to the selection",
        onclick: () => selection.join({ named: saved.name }),
      }, h("span", { text: saved.name }), h("span", { class: "faint", text: count(saved.count) })),
      run.readOnly ? null : button({
        name: "trash", title: `Delete ${saved.name}`, kind: "quiet",
        onclick: async () => {
          try {
            await remove(`api/selections/${encodeURIComponent(saved.name)}`);
            await load();
          } catch (error) {
            say.textContent = error.message;
          }
        },
      }),
    );
  const form = h("form", {
    class: "row",
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await put(`api/selections/${encodeURIComponent(name.value.trim())}`, { rule: store.get("rule") });
        name.value = "";
        await load();
      } catch (error) {
        say.textContent = error.message;
      }
      paint();
    },
  }, name, keep);
  keep.type = "submit";
  const paint = () => {
    keep.disabled = run.readOnly || !store.get("rule") || !name.value.trim();
  };
  name.addEventListener("input", paint);
  store.on("rule", paint);
  paint();
  load();
  return h("section", {}, h("header", {}, h("h2", { text: "Saved" })), list,
    run.readOnly ? h("p", { class: "faint", text: "Read-only while the run is training." }) : form, say);
}
