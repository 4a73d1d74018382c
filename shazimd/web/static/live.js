// News from the daemon. Only the tab in front listens: a browser has six connections to a server.
const TOASTS_MAX = 3;
const TOAST_MS = 9000;
let source;
let last = document.getElementById("alerts")?.dataset.last;  // the id of the latest alert shown

export function listen() {
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  if (!document.hidden) start();
}

function stop() {
  source?.close();
  source = null;
}

function start() {
  if (source) return;
  source = new EventSource(last === undefined ? "/live" : `/live?after=${last}`);
  source.addEventListener("alert", (event) => {
    last = event.lastEventId;
    showAlert(JSON.parse(event.data), last);
  });
  source.addEventListener("status", (event) => showState(JSON.parse(event.data)));
  source.addEventListener("gone", (event) => showState(JSON.parse(event.data)));
  source.addEventListener("error", () => showState({ state: "gone", text: "The page has ended", more: "start `shazimctl web` again" }));
}

function showState({ state, text, share, more }) {
  const place = document.getElementById("state");
  place.hidden = false;
  place.className = `state ${state}`;
  place.title = more ?? "";
  const label = place.querySelector(".text");
  if (label.textContent !== text) label.textContent = text;
  const bar = place.querySelector("progress");
  bar.hidden = share == null;
  if (share != null) bar.value = share;
}

/** Ask for the alerts that came while a list was on its way here: they were shown elsewhere. */
export function catchUp() {
  const shown = document.getElementById("alerts")?.dataset.last;
  if (!source || Number(shown) >= Number(last) || shown === undefined || last === undefined) return;
  stop();
  last = shown;
  start();
}

function showAlert({ html }, id) {
  const template = document.createElement("template");
  template.innerHTML = html;  // made and escaped by the server
  const list = document.getElementById("alerts");
  if (list) {
    if (Number(id) <= Number(list.dataset.last)) return;  // the list had it from the start
    list.dataset.last = id;
    list.prepend(template.content.cloneNode(true));
    document.getElementById("no-alerts")?.remove();
    return;
  }
  const toasts = document.getElementById("toasts");
  const toast = template.content.firstElementChild;
  toasts.append(toast);
  while (toasts.children.length > TOASTS_MAX) toasts.firstElementChild.remove();
  setTimeout(() => toast.remove(), TOAST_MS);
}
