// @ts-check
// The projector asks for the next step; it cannot take it, for its address moves nothing. The question goes over a channel
// that stays within this browser to the host's pages of the same room, and one of them presses its own button.

const SILENCE_MS = 1000;
const TAKEN_MS = 3000; // until all windows show the new phase
const SHOWN_MS = 8000;
const follower = document.getElementById("follower");
const notice = document.getElementById("notice");
const channel = new BroadcastChannel(`room ${follower?.dataset.room}`);
const shownPhase = () => document.getElementById("stage")?.dataset.phase;

let id = ""; // of the question that is open
let asked = { phase: /** @type {string | undefined} */ (""), until: 0 };
let isHeard = false;
let isSent = false; // to one page only: two would both press

/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let fading;

/** @param {string | undefined} sentence */
function say(sentence) {
  if (!notice) return;
  notice.textContent = sentence ?? "";
  clearTimeout(fading);
  fading = setTimeout(() => notice.replaceChildren(), SHOWN_MS);
}

export function askHost() {
  const phase = shownPhase();
  if (phase === asked.phase && performance.now() < asked.until) return; // who presses twice in a hurry skips nothing
  asked = { phase, until: performance.now() + SILENCE_MS };
  id = String(Math.random());
  isHeard = isSent = false;
  channel.postMessage({ kind: "ask", id, phase });
  clearTimeout(silence);
  silence = setTimeout(() => {
    if (shownPhase() === phase) say(isHeard ? follower?.dataset.wait : follower?.dataset.alone);
  }, SILENCE_MS);
}

channel.addEventListener("message", ({ data }) => {
  if (data.id !== id) return;
  isHeard = true;
  if (data.kind === "done") {
    asked.until = performance.now() + TAKEN_MS;
    clearTimeout(silence);
    notice?.replaceChildren();
  } else if (data.kind === "here" && data.isReady && !isSent) {
    isSent = true;
    channel.postMessage({ kind: "press", id, host: data.host, phase: asked.phase });
  }
});
