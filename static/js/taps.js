// @ts-check
// A tap counts as its finger meant it, however slow the line and however fast the next one.

/** @type {WeakMap<EventTarget, number>} */
const unanswered = new WeakMap(); // taps on each form; htmx sends them one after the other

/** @param {Event} event */
const tap = (event) => {
  const { sourceElement: form, request } = /** @type {CustomEvent} */ (event).detail.ctx;
  return { form, body: /** @type {unknown} */ (request.body), button: /** @type {HTMLButtonElement | undefined} */ (request.submitter) };
};

document.addEventListener("htmx:config:request", (event) => {
  const { form, body, button } = tap(event);
  if (!(body instanceof FormData) || !body.has("key")) return;
  // A tap that is sent twice is one vote, but the same button tapped again later is another. (No crypto.randomUUID over http.)
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  body.set("key", [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(""));
  // A button that is down takes its vote back. With a tap on its way nobody sees yet what is down: then each means itself.
  const before = unanswered.get(form) ?? 0;
  const own = button?.dataset.value;
  if (before && own) body.set(button.name, own);
  unanswered.set(form, before + 1);
  button?.setAttribute("aria-busy", "true");
});

document.addEventListener("htmx:finally:request", (event) => {
  const { form, button } = tap(event);
  const before = unanswered.get(form);
  if (!before) return;
  unanswered.set(form, before - 1);
  button?.removeAttribute("aria-busy");
});

// What leads to another page is sent once: who double-clicks wants one room. (Later again: the first may have got nowhere.)
const ONCE_MS = 3000;
/** @type {WeakMap<EventTarget, number>} */
const sent = new WeakMap();
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || !event.target) return; // htmx sends it
  if (event.timeStamp - (sent.get(event.target) ?? -ONCE_MS) < ONCE_MS) event.preventDefault();
  else sent.set(event.target, event.timeStamp);
});
