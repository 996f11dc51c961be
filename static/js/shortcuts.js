/** Keys that hold on every page: Ctrl-K, "/" to search, "g" and a letter to go to a section. */
import { isTyping, nameOf } from "./lib/keys.js";

const PLACES = { d: "data", l: "label", t: "train", m: "models", y: "deploy", o: "monitor" };

export function wireShortcuts() {
  let going = -Infinity; // when "g" was pressed: not just now, however young the page is
  document.addEventListener("keydown", (event) => {
    const name = nameOf(event);
    const palette = document.getElementById("palette");
    if (name === "Ctrl+k" && palette) {
      event.preventDefault();
      palette.open();
      return;
    }
    if (event.defaultPrevented || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (name === "/") {
      const search = document.querySelector(".search__input");
      if (!search) return;
      event.preventDefault();
      search.focus();
    } else if (name === "g") {
      going = event.timeStamp;
    } else if (event.timeStamp - going < 1000) {
      going = -Infinity;
      const link = name === "p" ? document.querySelector(".bar__home") : PLACES[name] && document.querySelector(`.rail__link[href$="/${PLACES[name]}"]`);
      if (link) {
        event.preventDefault();
        event.stopPropagation();
        link.click();
      }
    }
  }, true);
}
