// @ts-check
// The projector's keys. They change what this window shows; for the next step it asks the host's page.

import { askHost } from "./ask-host.js";

const root = document.documentElement;
const PARTS = ["1", "2", "3", "4", "5"];
/** @type {Record<string, 1 | -1>} the keys of a presenter's remote among them */
const TURNS = { arrowright: 1, pagedown: 1, arrowleft: -1, pageup: -1 };
let phase = "";

/** @param {string} name @param {string} value */
function flip(name, value) {
  if (root.dataset[name] === value) delete root.dataset[name];
  else root.dataset[name] = value;
}

/** @param {string} id */
function flipDialog(id) {
  const dialog = document.getElementById(id);
  if (!(dialog instanceof HTMLDialogElement)) return;
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** @param {string} part */
function show(part) {
  root.dataset.part = part;
  for (const tab of document.querySelectorAll(".tabs__tab")) {
    tab.setAttribute("aria-pressed", String(tab.getAttribute("data-press") === part));
  }
}

/** @param {1 | -1} step to the next or the last part of the result, and after all of them to the room's next step */
function turn(step) {
  const tabs = [...document.querySelectorAll(".tabs__tab")].filter((tab) => tab.checkVisibility());
  const at = tabs.findIndex((tab) => tab.getAttribute("aria-pressed") === "true");
  const part = tabs[at + step]?.getAttribute("data-press");
  if (part) show(part);
  else if (step > 0) advance();
}

function advance() {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  askHost();
}

/** @param {string} key */
function press(key) {
  if (PARTS.includes(key)) {
    if (document.querySelector(`.results__view[data-part="${key}"]`)) show(key);
  } else if (key === "f") {
    if (document.fullscreenElement) document.exitFullscreen();
    else root.requestFullscreen().catch(() => {});
  } else if (key === "t") root.dataset.theme = isDark() ? "light" : "dark";
  else if (key === "q") flipDialog("big-qr");
  else if (key === "r") flip("results", root.dataset.phase === "lobby" ? "on" : "off");
  else if (key === "h") flip("hidden", "yes");
  else if (key === "?") flipDialog("help");
  else if (key === "n") advance();
  else if (key in TURNS) turn(TURNS[key]);
  else if (key === "s") {
    const summary = document.getElementById("summary");
    if (summary instanceof HTMLDialogElement && summary.open) summary.close();
    else document.getElementById("summary-link")?.click();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key in TURNS) event.preventDefault(); // or the text in focus would scroll
  if (!event.repeat) press(key);
});
document.addEventListener("click", (event) => {
  if (!(event.target instanceof Element)) return;
  const key = event.target.closest("[data-press]")?.getAttribute("data-press");
  if (key) press(key);
  if (event.target instanceof HTMLDialogElement) event.target.close(); // a click beside what is in it
});

// A new phase begins with its own view.
function follow() {
  const stage = document.getElementById("stage");
  const now = stage?.dataset.phase ?? "";
  if (now === phase) return;
  phase = root.dataset.phase = now;
  delete root.dataset.results;
  show("1");
}

/** @type {any} */ (globalThis).htmx.registerExtension("keep-tabs", {
  htmx_before_morph_attr: (/** @type {Element} */ element, /** @type {{attrName: string}} */ { attrName }) =>
    !(attrName === "aria-pressed" && element.matches(".tabs__tab")),
});
document.addEventListener("htmx:after:swap", (event) => {
  follow();
  const { ctx } = /** @type {CustomEvent} */ (event).detail;
  const summary = document.getElementById("summary");
  const isSummary = ctx?.sourceElement?.id === "summary-link";
  if (isSummary && summary instanceof HTMLDialogElement && !summary.open) summary.showModal();
});
follow();
