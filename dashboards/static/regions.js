// Brings the marked regions of the page up to date from the server's own rendering, without a reload.
// Children with a key are matched by it; one that somebody writes in or copies from stays as it is until it is free.

import { holdBack, reading, selectedIn } from "./reading.js";
import { refreshTimes } from "./times.js";

const PAUSE = 1000;
const STEADY = ".flush [data-region], .newest [data-region]";
let timer = 0;
let running = false;
let again = false;

const FIELDS = "input, select, textarea";
const STOPS = "a, button, summary";

const busy = (element) =>
  element.querySelector("details[open]:not(:has([data-sent]))") !== null ||
  (element.contains(document.activeElement) && document.activeElement.matches(FIELDS)) ||
  selectedIn(element);

// A form that was sent says so until its effect is there to be seen.
const waits = (present, fresh) => present.querySelector(":is(details[open], td) [data-sent]") !== null && present.dataset.revision === fresh.dataset.revision;

// That something has just come is no difference.
function same(present, fresh) {
  if (!present.matches(".fresh, .arriving")) return present.isEqualNode(fresh);
  const settled = present.cloneNode(true);
  settled.classList.remove("fresh", "arriving");
  if (!settled.className) settled.removeAttribute("class");
  return settled.isEqualNode(fresh);
}

// The focus stays where it was: on the link or button in the same place, or on the whole.
function replace(present, taken) {
  const at = [...present.querySelectorAll(STOPS)].indexOf(document.activeElement);
  const inside = present.contains(document.activeElement);
  present.replaceWith(taken);
  if (inside) focusOn(taken, at);
}

export function focusOn(element, at = 0) {
  const stop = element.querySelectorAll(STOPS)[at] ?? element;
  if (stop === element) element.tabIndex = -1;
  stop.focus({ preventScroll: true });
}

function merge(old, fresh) {
  const keyed = [...fresh.children].some((child) => child.dataset.key || child.dataset.id);
  if (!keyed) {
    if (!busy(old) && !old.isEqualNode(fresh)) replace(old, document.adoptNode(fresh));
    return;
  }
  const keyOf = (child) => child.dataset.key ?? child.dataset.id;
  const known = new Map([...old.children].map((child) => [keyOf(child), child]));
  const wanted = [...fresh.children].map((child) => {
    const present = known.get(keyOf(child));
    if (present && (busy(present) || waits(present, child) || same(present, child))) return present;
    const taken = document.adoptNode(child);
    if (present) replace(present, taken);
    else taken.classList.add("fresh");
    return taken;
  });
  // Rows do not come, go or change places in a list while somebody is in it; what they say is kept up to date.
  if (old.matches(STEADY) && reading(old) && wanted.some((child, index) => old.children[index] !== child)) {
    holdBack(old, "", refreshNow);
    return;
  }
  wanted.forEach((child, index) => {
    if (old.children[index] !== child) old.insertBefore(child, old.children[index] ?? null);
  });
  while (old.children.length > wanted.length) old.lastElementChild.remove();
}

async function refresh() {
  if (running) {
    again = true;
    return;
  }
  running = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // "3 minutes ago" was written at another time than what stands here: that is no difference either.
    refreshTimes();
    refreshTimes(page);
    for (const fresh of page.querySelectorAll("[data-region]")) {
      const old = document.querySelector(`[data-region="${CSS.escape(fresh.dataset.region)}"]`);
      const nested = fresh.querySelector("[data-region]");
      if (!old || (nested && old.querySelector("[data-region]"))) continue;
      merge(old, fresh);
    }
  } catch {
    // The connection shows its state; the next message tries again.
  } finally {
    running = false;
    if (again) {
      again = false;
      refreshSoon();
    }
  }
}

export function refreshSoon(pause = PAUSE) {
  if (timer) return;
  timer = setTimeout(() => {
    timer = 0;
    refresh();
  }, pause);
}

export const refreshNow = refresh;

// What was handed over takes effect when it is stored: look a few times, ever later, until the row tells the outcome.
export async function refreshUntilChanged(row) {
  if (!row) return refreshSoon();
  const { key, revision } = row.dataset;
  for (const pause of [PAUSE, PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]) {
    await new Promise((done) => setTimeout(done, pause));
    await refresh();
    const present = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!present || (present.dataset.revision !== revision && !present.querySelector("[data-pending]"))) return;
  }
}
