// @ts-check
// The host's page: N for the next step, no step by the second half of a double click, forms that empty when they are sent.

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
