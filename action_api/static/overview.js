// Filters while typing and keeps the overview current. Without it the form does the same with a button.
"use strict";

const TYPING_MS = 250;

const live = () => document.getElementById("live");
let typing = 0;
let asked = 0;

async function load(address, whole) {
  const mine = ++asked;
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.redirected && new URL(answer.url).pathname !== location.pathname) {
    location.reload(); // the session has ended
    return;
  }
  if (!answer.ok || mine !== asked) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const ids = whole ? ["live"] : ["guests"];
  for (const id of ids) {
    const fresh = page.getElementById(id);
    const old = document.getElementById(id);
    if (fresh && old) old.replaceWith(fresh);
  }
}

document.addEventListener("input", (event) => {
  const form = event.target.closest("#filter");
  if (!form) return;
  clearTimeout(typing);
  typing = setTimeout(() => {
    const wanted = new URLSearchParams(new FormData(form));
    for (const [key, value] of [...wanted]) if (!value) wanted.delete(key);
    const address = `${form.getAttribute("action")}${wanted.size ? `?${wanted}` : ""}`;
    history.replaceState(null, "", address);
    load(address, false).catch(() => form.submit());
  }, TYPING_MS);
});

setInterval(() => {
  const busy = document.hidden || (document.activeElement && document.activeElement.closest("#live"));
  // Not under the hands of somebody who types or moves through the list with the keyboard.
  if (!busy) load(location.href, true).catch(() => undefined);
}, Number(live().dataset.refreshSeconds) * 1000);
