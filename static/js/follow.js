// @ts-check
// A page that follows its room: says when it has lost contact, keeps what was opened open, counts down.

const lost = document.querySelector("[data-reconnecting]");

document.addEventListener("htmx:sse:error", () => lost?.removeAttribute("hidden"));
document.addEventListener("htmx:sse:after:connection", () => lost?.setAttribute("hidden", ""));
for (const failed of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(failed, ({ target }) => { // the first connection; those after it are the extension's
    if (!(target instanceof Element && target.hasAttribute("hx-sse:connect"))) return;
    lost?.removeAttribute("hidden");
    setTimeout(() => /** @type {any} */ (globalThis).htmx.trigger(target, "again"), 2000);
  });
}

// A morph would close what the server did not open, and open again what was closed.
/** @type {any} */ (globalThis).htmx.registerExtension("keep-open", {
  htmx_before_morph_attr: (/** @type {Element} */ element, /** @type {{attrName: string}} */ { attrName }) =>
    !(attrName === "open" && element instanceof HTMLDetailsElement),
});

/** @type {WeakMap<Element, number>} */
const ends = new WeakMap();

function count() {
  for (const clock of document.querySelectorAll("[data-countdown]")) {
    if (!(clock instanceof HTMLElement)) continue;
    const end = ends.get(clock) ?? Date.now() + Number(clock.dataset.countdown) * 1000;
    ends.set(clock, end);
    const left = Math.max(0, Math.round((end - Date.now()) / 1000));
    clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    clock.toggleAttribute("data-over", left === 0);
  }
}

setInterval(count, 250);
