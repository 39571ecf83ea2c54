// Keyboard: / searches, g and a letter goes somewhere, ? shows help.

const PLACES = { o: "/", a: "/alerts", c: "/cases", t: "/tasks", e: "/enterprises" };
const PAUSE = 1500;

const writing = (target) => target instanceof Element && target.closest("input, textarea, select, [contenteditable]");

export function startKeys() {
  const help = document.getElementById("help");
  const open = document.querySelector(".help-open");
  let leader = 0;
  if (open) {
    open.hidden = false;
    open.addEventListener("click", () => help.showModal());
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && writing(event.target)) return event.target.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || writing(event.target) || help.open) return;
    const follows = performance.now() - leader < PAUSE;
    leader = 0;
    if (event.key === "/") {
      event.preventDefault();
      const box = document.getElementById("search");
      box.focus();
      box.select();
    } else if (event.key === "?") {
      help.showModal();
    } else if (event.key === "g") {
      leader = performance.now();
    } else if (follows && event.key in PLACES) {
      location.assign(PLACES[event.key]);
    }
  });
}
