// Where somebody is at work just now, so that nothing moves under the pointer, the focus or a selection.

import { text } from "./texts.js";

const IDLE = 10000;  // A pointer that was left on a projector's picture does not hold it up for ever.
const LOOK = 1000;
let acted = -IDLE;

for (const name of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  addEventListener(name, () => { acted = performance.now(); }, { capture: true, passive: true });
}

export function selectedIn(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(element);
}

export function reading(element) {
  return performance.now() - acted < IDLE && (element.matches(":hover, :focus-within") || selectedIn(element));
}

const releases = new WeakMap();  // of a notice: what to do when it goes

// Says above `list` that there is more to see, and calls `release(list)` once it is asked for or nobody reads any more.
// One notice stands for all that is held back meanwhile.
export function holdBack(list, words, release) {
  const place = list.closest(".scroll") ?? list;
  let notice = place.previousElementSibling;
  if (!notice?.matches(".held")) {
    notice = document.createElement("p");
    notice.className = "held";
    notice.setAttribute("role", "status");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button primary small";
    notice.append(button);
    place.before(notice);
    releases.set(notice, new Set());
    const end = () => {
      clearInterval(timer);
      notice.remove();
      for (const each of releases.get(notice)) each(list);
    };
    const timer = setInterval(() => {
      if (!list.isConnected || !reading(list)) end();
    }, LOOK);
    button.addEventListener("click", () => {
      acted = -IDLE;  // asked for: it comes although the pointer is here
      end();
    });
  }
  releases.get(notice).add(release);
  notice.firstElementChild.textContent = words || text("live.held");
}
