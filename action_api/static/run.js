// Keeps the page of an unfinished action run current. Without it the page reloads itself every few seconds.
"use strict";

const FASTEST_MS = 1000;
const SLOWEST_MS = 15000;

const address = document.getElementById("run").dataset.poll;
let newest = "";
let wait = FASTEST_MS;

// The page itself is the one place that knows how a run looks, so it is fetched again when something has changed.
async function show() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(`the page answered ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("run");
  if (fresh) document.getElementById("run").replaceWith(fresh);
}

async function look() {
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(`the API answered ${answer.status}`);
    const { run, events } = await answer.json();
    const state = `${run.state} ${run.finished} ${events.length}`;
    if (state !== newest) {
      if (newest !== "" || run.finished) await show();
      newest = state;
      wait = FASTEST_MS;
    } else {
      wait = Math.min(wait * 1.2, SLOWEST_MS / 5);
    }
    if (run.finished) return;
  } catch {
    wait = Math.min(wait * 2, SLOWEST_MS); // the server is away for a moment; the page goes on showing what it knew
  }
  setTimeout(look, wait);
}

look();
