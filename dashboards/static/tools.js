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

export function startTools() {
  startCopy();
  for (const box of document.querySelectorAll("[data-filter]")) box.addEventListener("input", () => narrow(box));
}
