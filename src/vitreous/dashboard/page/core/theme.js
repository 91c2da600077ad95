// Light and dark: the system's choice until the reader makes one.

import { button, icon } from "./dom.js";

const KEY = "vitreous-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

const stored = () => {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
};

export const isDark = () => document.documentElement.dataset.theme === "dark";

/** Call `fn` when the theme changes: canvases cannot follow CSS by themselves. */
export const onTheme = (fn) => listeners.add(fn);

function apply(theme) {
  document.documentElement.dataset.theme = theme;
  for (const fn of listeners) fn();
}

/** The value of a CSS custom property, for canvases. */
export const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Set the theme up and return its button. */
export function themeButton() {
  const node = button({ name: "moon", title: "Light or dark", kind: "quiet" });
  const paint = () => node.replaceChildren(icon(isDark() ? "sun" : "moon"));
  onTheme(paint);
  apply(stored() || (system.matches ? "dark" : "light"));
  system.addEventListener("change", () => stored() || apply(system.matches ? "dark" : "light"));
  node.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // A page without storage forgets the choice on reload.
    }
    apply(next);
  });
  return node;
}
