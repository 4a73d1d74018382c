// Two pictures under one lens: zoomed and moved together, side by side or one over the other.
//
// Both pictures lie in the frame of the first, in its pixels: the map of the daemon takes the second one there.
const ZOOM_STEP = 1.25;
const ZOOM_MAX = 40;
const MARGIN = 0.97;
const POINTS_AFTER_MS = 500;  // who goes through the pairs quickly wants the next pictures first
let viewer = null;
let lens = null;
let showMap = true;

export function setUpViewer(element) {
  viewer = element;
  lens = null;
  if (!viewer) return;
  const { a, b, map } = JSON.parse(viewer.dataset.geometry);
  lens = { a, b, toA: placing(a, b, map), mapped: map !== null, zoom: 1, x: a[0] / 2, y: a[1] / 2, points: null };
  for (const [side, [width, height]] of [["a", a], ["b", b]]) {
    const canvas = viewer.querySelector(`.${side} .canvas`);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const line = document.createElement("div");
  line.className = "wipe-line";
  viewer.append(line);
  viewer.classList.toggle("no-map", !showMap);
  document.getElementById("map-button").setAttribute("aria-pressed", showMap);
  setMode(sessionStorage.mode ?? "side");
  listenTo(viewer);
  new ResizeObserver(draw).observe(viewer);
  if (showMap) setTimeout(loadPoints, POINTS_AFTER_MS, lens);
}

/** The matrix that takes pixels of b to their place in a. */
function placing(a, b, map) {
  const whole = new DOMMatrix().scale(a[0] / b[0], a[1] / b[1]);
  if (!map) return whole;
  const [left, top, right, bottom] = map.region;
  const quarter = Math.round(map.rotation_deg / 90);
  const turned = Math.abs(map.rotation_deg - quarter * 90) < 1;
  let width = map.scale * a[0];
  let height = (width * b[1]) / b[0];
  if (turned) {  // the region is the picture itself, maybe stretched
    [width, height] = [(right - left) * a[0], (bottom - top) * a[1]];
    if (quarter % 2) [width, height] = [height, width];
  }
  return new DOMMatrix()
    .translate(((left + right) / 2) * a[0], ((top + bottom) / 2) * a[1])
    .rotate(turned ? quarter * 90 : map.rotation_deg)
    .scale(map.mirrored ? -1 : 1, 1)
    .scale(width / b[0], height / b[1])
    .translate(-b[0] / 2, -b[1] / 2);
}

function setMode(mode) {
  viewer.dataset.mode = mode;
  viewer.classList.remove("other");
  sessionStorage.mode = mode;
  for (const button of document.querySelectorAll("[data-mode][data-key]")) button.setAttribute("aria-pressed", button.dataset.mode === mode);
  draw();
}

const isSide = () => viewer.dataset.mode === "side";

function draw() {
  if (!viewer?.isConnected) return;
  const paneA = viewer.querySelector(".a");
  const [width, height] = [paneA.clientWidth, paneA.clientHeight];
  if (!width || !height) return;
  const middle = new DOMMatrix().translate(width / 2, height / 2);
  let scale, atA, atB;
  if (isSide()) {
    scale = fit(lens.a, width, height) * lens.zoom;
    const near = Math.min(1, (lens.zoom - 1) / 0.5);  // at first each is shown whole; closer, both show one place
    const own = new DOMPoint(lens.b[0] / 2, lens.b[1] / 2);
    const same = lens.toA.inverse().transformPoint(new DOMPoint(lens.x, lens.y));
    atA = middle.scale(scale).translate(-lens.x, -lens.y);
    atB = middle.scale(fit(lens.b, width, height) * lens.zoom).translate(-mix(own.x, same.x, near), -mix(own.y, same.y, near));
  } else {
    const around = frame();
    scale = fit([around.width, around.height], width, height) * lens.zoom;
    const near = Math.min(1, (lens.zoom - 1) / 0.5);
    const x = mix(around.x + around.width / 2, lens.x, near), y = mix(around.y + around.height / 2, lens.y, near);
    atA = middle.scale(scale).translate(-x, -y);
    atB = atA.multiply(lens.toA);
  }
  lens.at = { a: atA, b: atB };
  viewer.querySelector(".a .canvas").style.transform = atA.toString();
  viewer.querySelector(".b .canvas").style.transform = atB.toString();
  clip();
  wipe();
  sharpen();
  drawPoints();
}

/** For the difference, leave only the part that both pictures show. */
function clip() {
  const outline = (size, matrix) => {
    const corners = [[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]];
    const placed = corners.map(([x, y]) => matrix.transformPoint(new DOMPoint(x, y)));
    return `polygon(${placed.map(({ x, y }) => `${x}px ${y}px`).join(", ")})`;
  };
  const difference = viewer.dataset.mode === "difference";
  viewer.querySelector(".a .canvas").style.clipPath = difference ? outline(lens.b, lens.toA) : "";
  viewer.querySelector(".b .canvas").style.clipPath = difference ? outline(lens.a, lens.toA.inverse()) : "";
}

const fit = ([w, h], width, height) => MARGIN * Math.min(width / w, height / h);
const mix = (from, to, share) => from + (to - from) * share;

/** The rectangle around both pictures, in pixels of a. */
function frame() {
  const [w, h] = lens.b;
  const corners = [[0, 0], [w, 0], [w, h], [0, h]].map(([x, y]) => lens.toA.transformPoint(new DOMPoint(x, y)));
  const xs = [0, lens.a[0], ...corners.map((p) => p.x)];
  const ys = [0, lens.a[1], ...corners.map((p) => p.y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

function wipe() {
  const share = Number(viewer.querySelector(".wiper").value);
  const b = viewer.querySelector(".b");
  b.style.clipPath = viewer.dataset.mode === "wipe" ? `inset(0 0 0 ${share}%)` : "";
  viewer.querySelector(".wipe-line").style.left = `${share}%`;
}

/** Load all pixels once the screen shows more than the first picture has. */
function sharpen() {
  for (const image of viewer.querySelectorAll(".canvas img")) {
    const shown = image.getBoundingClientRect().width * devicePixelRatio;
    if (image.dataset.full && image.naturalWidth && shown > image.naturalWidth * 1.2) {
      const full = new Image();
      full.src = image.dataset.full;
      delete image.dataset.full;
      full.decode().then(() => { image.src = full.src; }, () => {});
    }
  }
}

function zoomBy(factor, clientX, clientY) {
  const before = lens.zoom;
  lens.zoom = Math.min(ZOOM_MAX, Math.max(1, lens.zoom * factor));
  if (lens.zoom === 1) return reset();
  if (clientX !== undefined && lens.at) {
    const point = inA(clientX, clientY);
    const share = 1 - before / lens.zoom;
    lens.x += (point.x - lens.x) * share;
    lens.y += (point.y - lens.y) * share;
  }
  clampAndDraw();
}

function reset() {
  Object.assign(lens, { zoom: 1, x: lens.a[0] / 2, y: lens.a[1] / 2 });
  draw();
}

function clampAndDraw() {
  const around = isSide() ? { x: 0, y: 0, width: lens.a[0], height: lens.a[1] } : frame();
  lens.x = Math.min(Math.max(lens.x, around.x), around.x + around.width);
  lens.y = Math.min(Math.max(lens.y, around.y), around.y + around.height);
  draw();
}

/** The place under the pointer, in pixels of a. */
function inA(clientX, clientY) {
  const side = isSide() && paneAt(clientX, clientY) === "b" ? "b" : "a";
  const box = viewer.querySelector(`.${side}`).getBoundingClientRect();
  const point = lens.at[side].inverse().transformPoint(new DOMPoint(clientX - box.left, clientY - box.top));
  return side === "b" ? lens.toA.transformPoint(point) : point;
}

function paneAt(clientX, clientY) {
  const box = viewer.querySelector(".b").getBoundingClientRect();
  return clientX >= box.left && clientY >= box.top ? "b" : "a";
}

function listenTo(target) {
  const pointers = new Map();
  target.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX, event.clientY);
  }, { passive: false });
  target.addEventListener("pointerdown", (event) => {
    if (event.target.matches(".wiper") || event.button) return;
    pointers.set(event.pointerId, event);
    target.setPointerCapture(event.pointerId);
    target.classList.add("moving");
    if (target.dataset.mode === "blink" && pointers.size === 1 && lens.zoom === 1) target.classList.add("other");
  });
  target.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      zoomBy(apart(event) / Math.max(1, apart(last)), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else if (lens.zoom > 1) {
      const from = inA(last.clientX, last.clientY), to = inA(event.clientX, event.clientY);
      lens.x -= to.x - from.x;
      lens.y -= to.y - from.y;
      clampAndDraw();
    } else if (target.dataset.mode === "wipe") {
      const box = target.getBoundingClientRect();
      target.querySelector(".wiper").value = (100 * (event.clientX - box.left)) / box.width;
      wipe();
    }
    pointers.set(event.pointerId, event);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    target.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      target.classList.remove("moving", "other");
    });
  }
  target.addEventListener("dblclick", (event) => (lens.zoom > 1 ? reset() : zoomBy(4, event.clientX, event.clientY)));
  target.querySelector(".wiper").addEventListener("input", wipe);
}

/** Matched points, which the page computes when they are first wanted. */
async function loadPoints(wanted = lens) {
  if (wanted !== lens || !showMap || !wanted.mapped || wanted.points || !viewer.dataset.points) return;
  wanted.points = [];
  const response = await fetch(viewer.dataset.points).catch(() => null);
  if (!response?.ok) return;
  wanted.points = (await response.json()).points;
  if (wanted === lens) drawPoints();
}

function drawPoints() {
  const place = viewer.querySelector(".points");
  place.replaceChildren();
  if (!isSide() || !showMap || !lens.points?.length || !lens.at) return;
  const outer = viewer.getBoundingClientRect();
  const spot = (side, x, y) => {
    const box = viewer.querySelector(`.${side}`).getBoundingClientRect();
    const size = lens[side];
    const point = lens.at[side].transformPoint(new DOMPoint(x * size[0], y * size[1]));
    const seen = point.x >= 0 && point.y >= 0 && point.x <= box.width && point.y <= box.height;
    return { x: point.x + box.left - outer.left, y: point.y + box.top - outer.top, seen };
  };
  for (const [ax, ay, bx, by] of lens.points) {
    const [one, other] = [spot("a", ax, ay), spot("b", bx, by)];
    if (!one.seen || !other.seen) continue;
    place.append(shape("line", { x1: one.x, y1: one.y, x2: other.x, y2: other.y }));
    for (const end of [one, other]) place.append(shape("circle", { cx: end.x, cy: end.y, r: 2.5 }));
  }
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function toggleMap() {
  showMap = !showMap;
  viewer.classList.toggle("no-map", !showMap);
  document.getElementById("map-button").setAttribute("aria-pressed", showMap);
  if (showMap) loadPoints();
  drawPoints();
}

document.addEventListener("click", (event) => {
  if (!viewer?.isConnected) return;
  const mode = event.target.closest(".modes [data-mode]");
  if (mode) setMode(mode.dataset.mode);
  const zoom = event.target.closest("[data-zoom]");
  if (zoom) zoom.dataset.zoom === "0" ? reset() : zoomBy(zoom.dataset.zoom === "+" ? ZOOM_STEP : 1 / ZOOM_STEP);
  if (event.target.closest("#map-button")) toggleMap();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || !viewer?.isConnected || event.target.closest("button, a, input, select")) return;
  event.preventDefault();
  if (event.repeat) return;
  if (viewer.dataset.mode !== "blink") {
    viewer.dataset.back = viewer.dataset.mode;
    setMode("blink");
  }
  viewer.classList.add("other");
});
document.addEventListener("keyup", (event) => {
  if (event.key !== " " || !viewer?.isConnected) return;
  viewer.classList.remove("other");
  if (viewer.dataset.back) setMode(viewer.dataset.back);
  delete viewer.dataset.back;
});
