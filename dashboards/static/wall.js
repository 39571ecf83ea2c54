// The overview on a wall: the whole picture without what nobody can press there, in type that is read from afar.
// `/?wall` begins so, for a screen that no hand reaches.

import { text } from "./texts.js";

export function startWall() {
  const button = document.querySelector(".wall-open");
  if (!button) return;
  const root = document.documentElement;
  const set = (on) => {
    root.classList.toggle("wall", on);
    button.textContent = text(on ? "wall.close" : "wall.open");
  };
  button.hidden = false;
  set(new URLSearchParams(location.search).has("wall"));
  button.addEventListener("click", async () => {
    const on = !root.classList.contains("wall");
    set(on);
    try {
      if (on) await root.requestFullscreen();
      else if (document.fullscreenElement) await document.exitFullscreen();
    } catch {
      // A browser that gives no whole screen still shows the large picture in its window.
    }
  });
  document.addEventListener("fullscreenchange", () => {
    if (!document.fullscreenElement) set(false);
  });
}
