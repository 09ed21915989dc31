// @ts-check
// The box: Enter sends, it grows with its text, and counts as code points, like the server.

/** @param {HTMLTextAreaElement} box */
function refresh(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
  const counter = box.form?.querySelector("[data-count]");
  const max = Number(box.dataset.max);
  const n = [...box.value.trim()].length;
  if (!(counter instanceof HTMLElement)) return;
  counter.dataset.empty ??= counter.textContent ?? "";
  counter.textContent = n === 0 ? counter.dataset.empty : `${n} / ${max}`;
  counter.classList.toggle("composer__count--over", n > max);
}

for (const form of document.querySelectorAll("[data-composer]")) {
  const box = form.querySelector("textarea");
  const send = form.querySelector("[data-testid=send]");
  if (!(box instanceof HTMLTextAreaElement) || !(send instanceof HTMLButtonElement)) continue;
  box.addEventListener("input", () => refresh(box));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send.click();
    }
  });
  form.addEventListener("submit", () => {
    const error = form.querySelector("#composer-error");
    if (error) error.textContent = "";
  });
  refresh(box);
}
