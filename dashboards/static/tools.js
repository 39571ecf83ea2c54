// Small helpers of pages: buttons that copy, and boxes that narrow a list while one types.

import { text } from "./texts.js";

function startCopy() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = text("copied");
      } catch {
        button.hidden = true;
      }
    });
  }
}

function narrow(box) {
  const wanted = box.value.trim().toLowerCase();
  const items = [...document.querySelectorAll(box.dataset.filter)];
  for (const item of items) item.hidden = !item.dataset.words.toLowerCase().includes(wanted);
  for (const group of document.querySelectorAll("[data-filter-group]")) group.hidden = !group.querySelector(`${box.dataset.filter}:not([hidden])`);
  document.querySelector("[data-filter-empty]")?.toggleAttribute("hidden", items.some((item) => !item.hidden));
}

const PAUSE = 150;

// Fills the list of a field for regions with what the server knows by what is typed so far.
function offerRegions(field) {
  let timer = 0;
  let newest = 0;
  const offer = async () => {
    const typed = field.value.trim();
    const mine = ++newest;
    const options = [];
    if (typed) {
      try {
        const answer = await fetch(`/regions?q=${encodeURIComponent(typed)}`);
        for (const { value, label } of answer.ok ? await answer.json() : []) options.push(new Option(label, value));
      } catch {
        // The name is taken without help as well.
      }
    }
    if (mine === newest) field.list.replaceChildren(...options);
  };
  const soon = (event) => {
    if (event.isComposing) return;
    clearTimeout(timer);
    timer = setTimeout(offer, PAUSE);
  };
  field.addEventListener("input", soon);
  field.addEventListener("compositionend", () => soon({}));
}

export function startTools() {
  startCopy();
  for (const field of document.querySelectorAll("[data-regions]")) offerRegions(field);
  for (const box of document.querySelectorAll("[data-filter]")) box.addEventListener("input", () => narrow(box));
}
