// @ts-check
// New answers come into view by themselves: on a phone they begin below the box.

let shown = exchangeId();

function exchangeId() {
  return document.getElementById("exchange")?.dataset.exchange ?? "";
}

document.addEventListener("htmx:after:swap", () => {
  const id = exchangeId();
  if (id === shown) return;
  shown = id;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const panes = document.getElementById("exchange");
  if (panes && panes.getBoundingClientRect().bottom > innerHeight) {
    panes.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
  }
});

// A request that never reached the server is told at the bottom, until the next one is sent or it is tapped.
const notice = document.getElementById("notice");

document.addEventListener("htmx:error", () => {
  if (notice) notice.textContent = notice.dataset.offline ?? "";
});
document.addEventListener("htmx:before:request", () => notice?.replaceChildren());
notice?.addEventListener("click", () => notice.replaceChildren());
