// The live stream: figures, new alerts, and when to bring a page up to date.

import { bars, line } from "./charts.js";
import { holdBack, reading } from "./reading.js";
import { refreshSoon } from "./regions.js";
import { language, number, text } from "./texts.js";
import { fullTime, refreshTimes } from "./times.js";

const SAY_EVERY = 3000;
const REOPEN = 10000;
const HIDDEN = 3000;

const connection = document.getElementById("connection");
const main = document.getElementById("main");
const watched = new Set((main.dataset.watch ?? "").trim().split(/\s+/).filter(Boolean));
const about = (main.dataset.about ?? "").trim();
const counts = new Map();
let saidAt = -SAY_EVERY;

// A page about one thing need not be read again for the notices of others: it waits for its own.
const awaited = () => document.querySelector(".deliveries .state-pending") !== null;

function show(state) {
  if (connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.lastElementChild.textContent = text(`live.${state}`);
}

// What the highest point of a chart stands for.
function most(name, values) {
  const place = document.querySelector(`[data-most="${name}"]`);
  if (place) place.textContent = number(Math.max(0, ...values));
}

// Regions and rules with most alerts. What somebody points at stays: it would lead elsewhere than it did a moment ago.
function rank(list, entries) {
  if (list.matches(":hover, :focus-within")) return;
  while (list.children.length > entries.length) list.lastElementChild.remove();
  for (const [place, { id, name, count }] of entries.entries()) {
    if (!list.children[place]) {
      const link = document.createElement("a");
      link.append(document.createElement("span"), document.createElement("b"));
      list.appendChild(document.createElement("li")).append(link);
    }
    const link = list.children[place].firstElementChild;
    link.href = list.dataset.href + encodeURIComponent(id);
    link.firstElementChild.textContent = name[language];
    link.lastElementChild.textContent = number(count);
  }
}

function figures(now) {
  document.getElementById("stale")?.toggleAttribute("hidden", !now.stale);
  if (now.events_total === undefined) return;
  for (const place of document.querySelectorAll("[data-figure]")) {
    const value = place.dataset.figure.split(".").reduce((from, key) => from?.[key], now) ?? 0;
    const words = number(value);
    if (place.textContent !== words) place.textContent = words;
  }
  const top = Math.max(1, ...Object.values(now.alerts_by_severity));
  for (const bar of document.querySelectorAll("[data-bar]")) bar.setAttribute("width", `${(100 * (now.alerts_by_severity[bar.dataset.bar] ?? 0)) / top}%`);
  for (const tile of document.querySelectorAll("[data-hot]")) tile.classList.toggle("hot", now[tile.dataset.hot] > 0);
  for (const list of document.querySelectorAll("[data-ranking]")) rank(list, now[list.dataset.ranking]);
  const minutes = now.events_per_minute.slice(-60).map(([, count]) => count);
  line(document.getElementById("spark"), now.series, 240, 56);
  bars(document.getElementById("minutes"), minutes, 600, 90);
  most("series", now.series);
  most("events_per_minute", minutes);
  for (const [kind, count] of Object.entries(now.changes)) {
    const was = counts.get(kind);
    counts.set(kind, count);
    if (was !== count && watched.has(kind) && (!about || awaited())) refreshSoon();
  }
  if (watched.has("overview") && now.events_total > 0) {
    watched.delete("overview");
    refreshSoon(0);
  }
}

function announce(words) {
  if (performance.now() - saidAt < SAY_EVERY) return;
  saidAt = performance.now();
  document.getElementById("announce").textContent = words;
}

function rowOf(alert) {
  const row = document.getElementById("alert-template").content.firstElementChild.cloneNode(true);
  const slot = (name) => row.querySelector(`[data-slot="${name}"]`);
  const severity = document.getElementById("severity-names").content.querySelector(`[data-severity="${CSS.escape(alert.severity)}"]`);
  row.dataset.id = alert.id;
  row.dataset.severity = alert.severity;
  row.querySelector(".sev").classList.add(`sev-${alert.severity}`);
  row.querySelector("use").setAttribute("href", `#sev-${alert.severity}`);
  slot("severity").textContent = severity?.textContent ?? alert.severity;
  slot("title").textContent = language === "en" ? alert.title_en : alert.title_zh;
  slot("title").href = `/alerts/${alert.id}`;
  if (alert.enterprise) {
    slot("enterprise").textContent = alert.enterprise_name ?? alert.enterprise;
    slot("enterprise").href = `/enterprises/${encodeURIComponent(alert.enterprise)}`;
  } else {
    slot("enterprise").replaceWith(alert.group_name?.[language] ?? "");
  }
  slot("region").textContent = alert.region_name?.[language] ?? "";
  slot("rule").textContent = alert.rule;
  slot("time").dateTime = alert.raised_at;
  slot("time").title = fullTime(alert.raised_at);
  row.classList.add("arriving");
  return row;
}

function wantedIn(list, alert) {
  const { severity, rule, regionCode } = list.dataset;
  return (!severity || severity === alert.severity) && (!rule || rule === alert.rule) && (!regionCode || alert.region?.startsWith(regionCode));
}

function shown(list, alerts) {
  for (const alert of alerts) {
    if (!list.querySelector(`[data-id="${CSS.escape(alert.id)}"]`)) list.prepend(rowOf(alert));
  }
  while (list.children.length > Number(list.dataset.alertList)) list.lastElementChild.remove();
  list.parentElement.querySelector("[data-empty]")?.setAttribute("hidden", "");
  refreshTimes(list);
}

const held = new Map();

function showHeld(list) {
  shown(list, held.get(list) ?? []);
  held.delete(list);
}

function newAlert(alert) {
  for (const list of document.querySelectorAll("[data-alert-list]")) {
    if (!wantedIn(list, alert) || list.querySelector(`[data-id="${CSS.escape(alert.id)}"]`)) continue;
    if (reading(list)) {
      // As many as the list can show; older ones would leave it again at once.
      held.set(list, [...(held.get(list) ?? []), alert].slice(-Number(list.dataset.alertList)));
      holdBack(list, text("live.held_alerts", { n: number(held.get(list).length) }), showHeld);
    } else {
      shown(list, [alert]);
    }
    announce(text("live.new_alert", { title: language === "en" ? alert.title_en : alert.title_zh }));
  }
}

function changed(kind, thing) {
  if (watched.has(kind) && (!about || [thing.id, thing.case, thing.enterprise].includes(about))) refreshSoon();
}

let source = null;
let leaving = 0;

function close() {
  source?.close();
  source = null;
}

function open() {
  close();
  const mine = source = new EventSource("/v1/stream");
  const on = (name, act) => mine.addEventListener(name, (event) => act(JSON.parse(event.data)));
  mine.addEventListener("open", () => show("live"));
  mine.addEventListener("error", () => {
    show("broken");
    if (mine.readyState !== EventSource.CLOSED) return;
    setTimeout(() => {
      if (source !== mine) return;
      open();
      refreshSoon();
    }, REOPEN);
  });
  on("overview", figures);
  on("alert", (alert) => {
    newAlert(alert);
    changed("alert", alert);
  });
  on("case", (thing) => changed("case", thing));
  on("task", (thing) => changed("task", thing));
  on("refresh", () => refreshSoon());
}

// A browser keeps six connections to one server: streams of tabs that nobody sees would leave none for the seventh.
function seen() {
  clearTimeout(leaving);
  if (document.visibilityState === "hidden") {
    leaving = setTimeout(close, HIDDEN);
  } else if (!source) {
    open();
    refreshSoon(0);
  }
}

export function startLive() {
  show("connecting");
  if (document.visibilityState !== "hidden") open();
  document.addEventListener("visibilitychange", seen);
  // A page that is left would otherwise show a broken connection in the history cache.
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    // A page that comes out of the history shows its own list, but what was chosen on leaving it.
    for (const form of document.querySelectorAll("form.filters:not(:has([data-filter]))")) form.reset();
    open();
    refreshSoon(0);
  });
}
