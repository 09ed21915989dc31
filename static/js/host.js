// @ts-check
// The host's page: N for the next step, also where the projector asks for it, no step by the second half of a double click,
// forms that empty when they are sent.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]")) return;
  const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (button instanceof HTMLButtonElement) button.click();
});

document.addEventListener(
  "click",
  (event) => {
    const isOnce = event.target instanceof Element && event.target.closest("[data-once]");
    if (isOnce && event.detail > 1) event.preventDefault();
  },
  true,
);

document.addEventListener("htmx:after:request", (event) => {
  const { ctx } = /** @type {CustomEvent} */ (event).detail;
  const form = ctx.sourceElement;
  if (form instanceof HTMLFormElement && form.hasAttribute("data-reset") && ctx.response?.raw?.ok) form.reset();
});

// The projector in this browser asks for a step; it is taken from the phase that it shows, by this page's own button.
const me = String(Math.random());
const channel = new BroadcastChannel(`room ${document.getElementById("host")?.dataset.room}`);

/** @param {string} phase */
function nextButton(phase) {
  const round = document.getElementById("host-round");
  const button = round?.querySelector("[data-key=n]");
  const isReady = round?.dataset.phase === phase && button instanceof HTMLButtonElement && !button.disabled;
  return isReady && button.form?.checkValidity() ? button : null;
}

channel.addEventListener("message", ({ data: { kind, id, phase, host } }) => {
  const button = nextButton(phase);
  if (kind === "ask") channel.postMessage({ kind: "here", id, host: me, isReady: button !== null });
  if (kind !== "press" || host !== me || !button) return;
  button.click();
  channel.postMessage({ kind: "done", id });
});
