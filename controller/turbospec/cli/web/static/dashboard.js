// Brings the parts of the page that are marked data-live up to date, and leaves the reader where they are: what has
// the focus, what is unfolded and what is scrolled stays so. Without this script the page is the same, but stands still.

const INTERVAL_MILLISECONDS = 5000;
const UNREACHABLE = "This page cannot reach turbospec dashboard any more: is it still running?";

const said = document.getElementById("said");
const pause = document.getElementById("pause");
const shown = new Map();

function parts(page) {
  return page.querySelectorAll("[data-live]");
}

function isBeingMarked(part) {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function replace(part, fresh) {
  const unfolded = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  const scrolled = [...part.querySelectorAll(".wide")].map((each) => [each.id, each.scrollLeft]);
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  part.replaceChildren(...fresh.childNodes);
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left, behavior: "instant" });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

// Only a change of state is said aloud: figures change all the time.
function say(state) {
  if (state === undefined || document.body.dataset.state === state) return;
  document.body.dataset.state = state;
  said.textContent = state;
}

function show(page) {
  for (const fresh of parts(page)) {
    const part = document.getElementById(fresh.id);
    const markup = fresh.innerHTML;
    if (part === null || shown.get(part.id) === markup || isBeingMarked(part)) continue;
    replace(part, fresh);
    shown.set(part.id, markup);
  }
  say(page.body.dataset.state);
}

function showUnreachable() {
  const words = document.createElement("p");
  words.textContent = UNREACHABLE;
  document.getElementById("notice").replaceChildren(words);
  shown.delete("notice");
  say(UNREACHABLE);
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what fetch throws where nobody answers
    showUnreachable();
  }
}

function isPaused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function later() {
  setTimeout(async () => {
    try {
      if (!isPaused() && !document.hidden) await refresh();
    } finally {
      later();
    }
  }, INTERVAL_MILLISECONDS);
}

for (const part of parts(document)) shown.set(part.id, part.innerHTML);
pause.addEventListener("click", () => pause.setAttribute("aria-pressed", String(!isPaused())));
pause.hidden = false;
document.getElementById("still").hidden = true;
later();
