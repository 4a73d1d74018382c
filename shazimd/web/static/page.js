// The page without this script works as links and forms. The script saves reloads, adds keys, and shows news.
import { setUpViewer } from "./viewer.js";
import { catchUp, listen } from "./live.js";
import { acceptPictures } from "./ask.js";
import { say, main } from "./say.js";

document.documentElement.classList.add("js");

let visits = 0;  // begun by the reader

/** Show another page of ours without a reload; the address and the back button work as with one. Of two visits
 * under way the later is shown, and one that the reader did not begin (`refresh`) is dropped. */
export async function visit(address, options = {}) {
  const visited = options.refresh ? visits : ++visits;
  const response = await fetched(address, options);
  if (!response) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (visited !== visits) return;
  if (!page.getElementById("main")) return location.assign(address);
  document.title = page.title;
  main().replaceWith(page.getElementById("main"));
  document.querySelector(".top nav")?.replaceWith(page.querySelector(".top nav"));
  if (options.push !== false && response.url !== location.href) history.pushState({}, "", response.url);
  setUp();
  main().focus({ preventScroll: true });
  if (options.push !== false) scrollTo(0, 0);
}

const ahead = new Map();  // address -> promise of a response, asked before it is needed

async function fetched(address, options) {
  const key = new URL(address, location.href).href;
  const early = options.body ? null : ahead.get(key);
  ahead.clear();
  try {
    return (await early)?.clone() ?? (await fetch(address, { method: options.body ? "POST" : "GET", body: options.body }));
  } catch {
    say("The page's process has ended: start `shazimctl web` again", true);
  }
}

function setUp() {
  setUpViewer(document.querySelector(".viewer"));
  prepareNext();
  watchEnd();
  catchUp();
  const working = document.querySelector("[data-refresh]");
  if (working) setTimeout(() => working.isConnected && visit(location.href, { push: false, refresh: true }), Number(working.dataset.refresh));
}

/** Ask for the next group and its pictures while this one is looked at. */
function prepareNext() {
  const next = document.getElementById("prefetch");
  if (!next) return;
  const href = new URL(next.dataset.href, location.href).href;
  setTimeout(() => {
    if (!next.isConnected) return;
    if (!ahead.has(href)) ahead.set(href, fetch(href));
    for (const image of next.content.querySelectorAll("img")) new Image().src = image.dataset.src;
  }, 60);
}

/** Append the following groups before the reader comes to the end. */
function watchEnd() {
  const more = document.getElementById("more");
  if (!more) return;
  new IntersectionObserver(async (changes, observer) => {
    if (!changes.at(-1).isIntersecting) return;  // a busy browser tells several changes at once
    observer.disconnect();
    const response = await fetched(more.href, {});
    if (!response?.ok) return;  // the link stays
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!more.isConnected) return;  // the reader went on to another page
    document.querySelector(".cards").append(...page.querySelectorAll(".cards > .card"));
    const next = page.getElementById("more");
    if (next) { more.href = next.getAttribute("href"); watchEnd(); } else more.parentElement.remove();
  }, { rootMargin: "1600px" }).observe(more);
}

/** Send a form of a decision, and show its outcome in place. */
async function decide(form) {
  let answer;
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { Accept: "application/json" } });
    answer = await response.json();
    if (!response.ok) return say(answer.error, true);
  } catch {
    return say("The page's process has ended: start `shazimctl web` again", true);
  }
  say(answer.said);
  if (form.action.endsWith("/undo")) return undone(answer);
  if (main().classList.contains("pair")) {
    const query = new URL(location.href);
    query.searchParams.delete("with");
    return visit(answer.next ? `/group/${answer.next}${query.search}` : `/${query.search}`);
  }
  markDone(document.querySelector(`[data-group="${answer.group}"]`), answer);
}

function markDone(card, answer) {
  if (!card) return;
  const next = neighbour(card, 1);
  card.classList.add("done");
  card.querySelector(".said").textContent = answer.said;
  card.querySelectorAll("figure").forEach((figure) => figure.classList.toggle("keep", figure.dataset.file === answer.keep));
  (next ?? card).querySelector(".pics").focus();
}

function undone(answer) {
  if (main().classList.contains("pair")) {
    return visit(answer.group ? `/group/${answer.group}${location.search}` : location.href);
  }
  const card = answer.group && document.querySelector(`[data-group="${answer.group}"]`);
  if (!card || answer.many) return visit(location.href, { push: false });
  card.classList.remove("done");
  card.querySelectorAll("figure").forEach((figure, n) => figure.classList.toggle("keep", n === 0));
  card.querySelector(".pics").focus();
}

/** The nearest card that is not decided, after (1) or before (-1) a card. */
function neighbour(card, step) {
  let next = card;
  do next = step > 0 ? next.nextElementSibling : next.previousElementSibling; while (next?.classList.contains("done"));
  return next;
}

function moveFocus(key) {
  const cards = [...document.querySelectorAll(".card[data-group]")];
  if (!cards.length) return false;
  const present = cards.indexOf(document.activeElement.closest(".card"));
  const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  const target = present < 0 ? cards[0] : cards[Math.min(Math.max(present + step, 0), cards.length - 1)];
  target.querySelector(".pics").focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest", behavior: "instant" });
  return true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=range]), select, textarea")) return;
  if (event.key === "?") return document.getElementById("help").showModal();
  if (event.key.startsWith("Arrow") && main().classList.contains("list")) {
    if (moveFocus(event.key)) event.preventDefault();
    return;
  }
  if (event.key === "ArrowUp" || event.key === "ArrowDown") return anotherMember(event);
  const scope = document.activeElement.closest(".card") ?? (main().classList.contains("pair") ? main() : null);
  const target = (event.key === "u" && !scope?.classList.contains("done") ? null : scope)?.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target && !target.closest(".card.done .acts")) {
    event.preventDefault();
    target.click();
  } else if (event.key === "u") {
    const form = document.createElement("form");
    form.action = "/undo";
    decide(form);
  }
}

function anotherMember(event) {
  const places = [...document.querySelectorAll(".strip [data-place]")];
  const present = places.findIndex((place) => place.hasAttribute("aria-current"));
  const next = places[present + (event.key === "ArrowDown" ? 1 : -1)];
  if (!next) return;
  event.preventDefault();
  next.click();
}

document.addEventListener("keydown", onKey);
document.addEventListener("submit", (event) => {
  const form = event.target;
  const path = new URL(form.action, location.href).pathname;
  if (path === "/decide" || (path === "/undo" && !form.elements.id)) {
    event.preventDefault();
    decide(form);
  }
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("main a[href^='/'], #toasts a[href^='/'], .brand");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  visit(link.href).then(() => link.classList.contains("back") && focusGroup(link.dataset.from));
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto]");
  if (form?.checkValidity()) visit(`/?${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`);
  const rule = event.target.closest(".rule input[type=radio]");
  if (rule) rule.form.querySelectorAll("input[name=folder]").forEach((input) => { input.required = input.closest("label").contains(rule.form.querySelector(`[name=${rule.name}]:checked`)); });
});

function focusGroup(id) {
  document.querySelector(`[data-group="${id}"] .pics`)?.focus();
}

addEventListener("popstate", () => visit(location.href, { push: false }));
document.getElementById("help-button")?.addEventListener("click", () => document.getElementById("help").showModal());
setUp();
listen();
acceptPictures(visit);
