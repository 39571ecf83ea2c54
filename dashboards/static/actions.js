// Sends the forms of tasks, quarantine and deliveries to the API, so that the page stays. Without it they are plain forms.

import { focusOn, refreshNow, refreshSoon, refreshUntilChanged } from "./regions.js";
import { has, text } from "./texts.js";

const ACTOR = "jianguan-actor";

function say(form, state, words) {
  const place = form.querySelector(".result");
  place.dataset.state = state;
  place.textContent = words;
}

// The form goes with what it changed: who does not see that hears it, and goes on from the changed thing.
async function showOutcome(key) {
  await refreshNow();
  document.getElementById("announce").textContent = text("act.done");
  const changed = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (changed && document.activeElement === document.body) focusOn(changed);
}

// Somebody else was quicker: shows the present state, and what was written here, which goes with the form.
async function giveWay(form, note) {
  form.dataset.sent = "";
  document.activeElement?.blur();
  const place = document.getElementById("refused");
  if (place) {
    place.textContent = text("act.refused") + (note ? `\n${text("act.refused.note", { note })}` : "");
    place.hidden = false;
  }
  await refreshNow();
  place?.scrollIntoView({ block: "nearest" });
}

async function send(form) {
  document.getElementById("refused")?.setAttribute("hidden", "");
  const button = form.querySelector("button");
  button.disabled = true;
  say(form, "", text("act.sending"));
  const fields = Object.fromEntries(new FormData(form));
  if (fields.actor) sessionStorage.setItem(ACTOR, fields.actor);
  try {
    const answer = await fetch(form.dataset.post, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(fields),
    });
    if (!answer.ok) {
      const key = `error.${answer.status}.text`;
      say(form, "bad", text("act.failed", { why: has(key) ? text(key) : text("act.failed.status", { status: answer.status }) }));
      button.disabled = false;
      if (answer.status === 409) await giveWay(form, fields.note);
      return;
    }
    say(form, "good", text(answer.status === 202 ? "act.pending" : "act.done"));
    const panel = form.closest("details");
    form.dataset.sent = "";  // nobody writes here any more: it may go as soon as its thing has changed
    document.activeElement?.blur();
    if (panel && answer.status === 200) {
      panel.open = false;
      await showOutcome(form.closest("[data-key]")?.dataset.key ?? "");
    }
    if (answer.status === 202) refreshUntilChanged(form.closest("[data-revision]"));
    else refreshSoon();
  } catch {
    say(form, "bad", text("act.failed", { why: text("act.failed.away") }));
    button.disabled = false;
  }
}

export function startActions() {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.post) return;
    event.preventDefault();
    // A browser takes blanks for something that was written; emptied, the field is complained about as any empty one.
    for (const field of form.querySelectorAll("[required]")) {
      if (!field.value.trim()) field.value = "";
    }
    if (form.reportValidity()) send(form);
  });
  document.addEventListener("toggle", (event) => {
    if (!event.target.matches?.("details.act[open]")) return;
    const actor = event.target.querySelector("[name=actor]");
    actor.value ||= sessionStorage.getItem(ACTOR) ?? "";
    (actor.value ? event.target.querySelector("[name=note]") : actor).focus();
  }, true);
}
