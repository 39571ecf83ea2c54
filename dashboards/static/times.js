// Keeps "3 minutes ago" and "2 days left" true while the page is open.

import { text } from "./texts.js";

const UNITS = [["d", 86400000], ["h", 3600000], ["m", 60000]];

function relative(ago) {
  for (const [unit, size] of UNITS) if (ago >= size) return text(`rel.${unit}`, { n: Math.floor(ago / size) });
  return ago >= 10000 ? text("rel.s", { n: Math.floor(ago / 1000) }) : text("rel.now");
}

function due(left) {
  const side = left >= 0 ? "in" : "over";
  const size = Math.abs(left);
  for (const [unit, length] of UNITS) if (size >= length) return text(`due.${side}.${unit}`, { n: Math.floor(size / length) });
  return text(`due.${side}.m`, { n: 0 });
}

export function refreshTimes(root = document) {
  const now = Date.now();
  for (const each of root.querySelectorAll("time[data-relative]")) each.textContent = relative(Math.max(0, now - Date.parse(each.dateTime)));
  for (const each of root.querySelectorAll("time[data-due]")) each.textContent = due(Date.parse(each.dateTime) - now);
}

// The full time in Shanghai, for titles: 2026-11-23 15:13:48 UTC+8.
export function fullTime(iso) {
  return `${new Date(Date.parse(iso) + 8 * 3600000).toISOString().slice(0, 19).replace("T", " ")} UTC+8`;
}

export function startTimes() {
  refreshTimes();
  setInterval(refreshTimes, 10000);
  addEventListener("beforeprint", () => {
    document.getElementById("printed").textContent = fullTime(new Date().toISOString());
  });
}
