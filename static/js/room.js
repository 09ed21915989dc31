// @ts-check
// The phone's page: says new phases to screen readers, counts down, shows a lost connection.

const stage = () => document.getElementById("stage");
const announce = document.getElementById("announce");
const connection = document.getElementById("connection");
const notice = document.getElementById("notice");
if (notice && connection) notice.dataset.offline = connection.dataset.vote;

// A new phase begins at its top and is said once; the focus does not fall out of the page.
let phase = stage()?.dataset.phase;
let said = stage()?.dataset.say;
let hadFocus = false;
document.addEventListener("focusin", () => {
  hadFocus = stage()?.contains(document.activeElement) ?? false;
});
document.addEventListener("htmx:after:swap", () => {
  const now = stage();
  if (!now) return;
  if (now.dataset.say !== said && announce) announce.textContent = now.dataset.say ?? "";
  said = now.dataset.say;
  if (now.dataset.phase === phase) return;
  phase = now.dataset.phase;
  scrollTo({ top: 0 });
  if (hadFocus && document.activeElement === document.body) now.focus({ preventScroll: true });
});

// Sending an answer again clears what was wrong with the last one.
document.addEventListener("htmx:before:request", (event) => {
  const form = event.target instanceof Element ? event.target.closest("form") : null;
  form?.querySelector("[role=alert]")?.replaceChildren();
});

/** @type {WeakMap<HTMLElement, {from: string, end: number}>} */
const ends = new WeakMap();
function tick() {
  for (const clock of document.querySelectorAll("[data-seconds]")) {
    if (!(clock instanceof HTMLElement)) continue;
    const from = clock.dataset.seconds ?? "0";
    let known = ends.get(clock);
    if (known?.from !== from) {
      known = { from, end: performance.now() + 1000 * Number(from) };
      ends.set(clock, known);
    }
    const left = Math.max(0, Math.ceil((known.end - performance.now()) / 1000));
    const text = left ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` : clock.dataset.over ?? "";
    if (clock.textContent !== text) clock.textContent = text;
  }
}
tick();
setInterval(tick, 250);

// The stream comes back by itself; until then the page says that it is behind.
/** @type {ReturnType<typeof setTimeout> | undefined} */
let late;
let stream = /** @type {{reader?: {cancel(): void}} | null} */ (null);
function lost(delay = 0) {
  clearTimeout(late);
  late = setTimeout(() => {
    if (connection && !connection.textContent) connection.textContent = connection.dataset.text ?? "";
  }, delay);
}
function found() {
  clearTimeout(late);
  connection?.replaceChildren();
}
const isOurs = (/** @type {Event} */ event) => event.target instanceof Element && event.target.id === "live";
document.addEventListener("htmx:sse:before:connection", (event) => {
  if (isOurs(event) && /** @type {CustomEvent} */ (event).detail.connection.attempt > 0) lost(1200);
});
document.addEventListener("htmx:sse:error", (event) => isOurs(event) && lost());
document.addEventListener("htmx:sse:after:connection", (event) => {
  if (!isOurs(event)) return;
  stream = /** @type {CustomEvent} */ (event).detail.connection;
  found();
});
for (const failed of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(failed, (event) => { // the first connection; those after it are the extension's
    if (!isOurs(event)) return;
    lost();
    setTimeout(() => htmx.trigger(event.target, "again"), 2000);
  });
}
addEventListener("offline", () => lost());
addEventListener("online", () => stream?.reader?.cancel()); // what hung is dead: connect anew
