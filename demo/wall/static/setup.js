// Zones, lines and masks drawn on a camera's live picture, and its rules.
import { line, paint, element, ask } from "./line.js";
import * as rules from "./rules.js";

const $ = (id) => document.getElementById(id);
const NAMES = { zones: "zone", lines: "line", masks: "mask", motion_masks: "motion mask" };
const HINTS = {
  zones: "Rules look at who stands in it.", lines: "In is to the right hand of who looks from its orange first point to the second.",
  masks: "Blacked out before anything looks.", motion_masks: "Motion there wakes nothing.",
};
let camera = "", shapes = [], stamp = "", drawing = null, people = [], loads = 0;

export async function show(_, name) {
  await chooseCamera(name);
  line.onState.add(states);
  states(line.state);
}

export function hide() {
  line.onState.delete(states);
  line.onPicture.clear();
  line.want({});
}

function states(state) {
  const select = $("setup-camera");
  for (const one of state) if (![...select.options].some((option) => option.value === one.name)) select.append(new Option(one.name, one.name));
  if (!camera && state.length) { chooseCamera(state[0].name); return; }
  const mine = state.find((one) => one.name === camera);
  if (!mine) return;
  const dead = mine.mood === "bad" || mine.mood === "off";
  const veil = document.querySelector("#drawing .veil");
  veil.hidden = !dead || shapes.length > 0;
  veil.textContent = mine.words;
}

async function chooseCamera(name) {
  if (!name) return;
  camera = name;
  const select = $("setup-camera");
  if (![...select.options].some((option) => option.value === name)) select.append(new Option(name, name));
  select.value = name;
  const canvas = document.querySelector("#drawing canvas");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  line.onPicture.clear();
  line.onPicture.set(name, (bitmap, about, styles) => {
    paint(canvas, bitmap, about, styles);
    people = about.people;
    count();
  });
  line.want({ [name]: [Math.round((canvas.clientWidth || 800) * Math.min(devicePixelRatio || 1, 2)), 8] });
  await load();
  await rules.show(name);
}

// What is drawn before the file's own shapes are here would be lost with them, so nothing can be drawn until then.
async function load() {
  const mine = ++loads;
  for (const button of document.querySelectorAll("[data-draw]")) button.disabled = true;
  try {
    const got = await ask(`api/cameras/${camera}/places`);
    if (mine !== loads) return;
    stamp = got.stamp;
    shapes = [];
    for (const kind of ["zones", "lines"]) for (const [name, points] of Object.entries(got.places[kind])) shapes.push({ kind, name, points });
    for (const kind of ["masks", "motion_masks"]) for (const points of got.places[kind]) shapes.push({ kind, name: "", points });
    end();
    draw();
    $("places-words").textContent = "";
  } catch (error) {
    $("places-words").textContent = error.message;
  }
  if (mine === loads) for (const button of document.querySelectorAll("[data-draw]")) button.disabled = false;
}

// ---------------------------------------------------------------- drawing
const svg = () => $("shapes");
const enough = (shape) => shape.points.length >= (shape.kind === "lines" ? 2 : 3);

function begin(kind) {
  if (drawing && drawing.kind === kind) { finish(); return; }
  end();
  drawing = { kind, name: kind in { zones: 1, lines: 1 } ? freeName(NAMES[kind]) : "", points: [] };
  shapes.push(drawing);
  $("drawing").classList.add("drawing");
  $("finish").hidden = false;
  for (const button of document.querySelectorAll("[data-draw]")) button.setAttribute("aria-pressed", String(button.dataset.draw === kind));
  $("draw-words").textContent = `${kind === "lines" ? "Click two points" : "Click the corners, then Finish"}. ${HINTS[kind]} Finish at once puts one in the middle; its corners move with the mouse, a finger or the arrow keys.`;
  draw();
}

function freeName(word) {
  const taken = new Set(shapes.map((shape) => shape.name));
  for (let i = 1; ; i++) if (!taken.has(`${word} ${i}`)) return `${word} ${i}`;
}

function finish() {
  if (drawing && !enough(drawing)) {
    drawing.points = drawing.kind === "lines" ? [[0.3, 0.6], [0.7, 0.6]] : [[0.35, 0.35], [0.65, 0.35], [0.65, 0.65], [0.35, 0.65]];
  }
  end();
  draw();
  $("places-words").textContent = "Not saved yet.";
}

function end() {
  shapes = shapes.filter((shape) => shape !== drawing || enough(shape));
  drawing = null;
  $("drawing").classList.remove("drawing");
  $("finish").hidden = true;
  for (const button of document.querySelectorAll("[data-draw]")) button.setAttribute("aria-pressed", "false");
  $("draw-words").textContent = "";
}

function at(event) {
  const box = svg().getBoundingClientRect();
  const share = (value) => Math.round(Math.max(0, Math.min(1, value)) * 1e4) / 1e4;
  return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
}

function addCorner(event) {
  if (!drawing) return;
  drawing.points.push(at(event));
  if (drawing.kind === "lines" && drawing.points.length === 2) finish();
  else draw();
}

function draw() {
  const made = shapes.map((shape) => {
    const one = document.createElementNS("http://www.w3.org/2000/svg", shape.kind === "lines" || shape === drawing ? "polyline" : "polygon");
    one.setAttribute("points", shape.points.map((p) => p.join(",")).join(" "));
    one.setAttribute("class", `shape ${shape.kind}`);
    one.setAttribute("vector-effect", "non-scaling-stroke");
    return one;
  });
  svg().replaceChildren(...made);
  for (const old of document.querySelectorAll("#drawing .corner, #drawing .shape-name")) old.remove();
  shapes.forEach((shape, i) => {
    shape.points.forEach((_, j) => $("drawing").append(corner(shape, j, i)));
    if (!shape.name || !shape.points.length) return;
    const middle = [0, 1].map((axis) => shape.points.reduce((sum, p) => sum + p[axis], 0) / shape.points.length);
    const label = element("span", { class: "shape-name" }, shape.name);
    put(label, middle);
    $("drawing").append(label);
  });
  list();
}

const put = (box, [x, y]) => { box.style.left = `${100 * x}%`; box.style.top = `${100 * y}%`; };

function corner(shape, j, i) {
  const name = `corner ${j + 1} of ${shape.name || `${NAMES[shape.kind]} ${i + 1}`}`;
  const button = element("button", { type: "button", class: "corner" + (shape.kind === "lines" && j === 0 ? " first" : ""), "aria-label": name });
  put(button, shape.points[j]);
  const move = (point) => {
    shape.points[j] = point;
    put(button, point);
    [...svg().children][i].setAttribute("points", shape.points.map((p) => p.join(",")).join(" "));
    $("places-words").textContent = "Not saved yet.";
    count();
  };
  button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); event.stopPropagation(); });
  button.addEventListener("pointermove", (event) => { if (button.hasPointerCapture(event.pointerId)) move(at(event)); });
  button.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.05 : 0.01;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (!by) return;
    event.preventDefault();
    move(shape.points[j].map((value, axis) => Math.round(Math.max(0, Math.min(1, value + by[axis])) * 1e4) / 1e4));
  });
  return button;
}

// ---------------------------------------------------------------- the list, and who is inside
function list() {
  $("shape-list").replaceChildren(...shapes.map((shape) => {
    const inside = element("span", { class: "inside" });
    shape.inside = inside;
    const name = shape.kind === "zones" || shape.kind === "lines"
      ? element("label", {}, "Name ", element("input", { value: shape.name, maxlength: 64, size: 14, onchange: (event) => { shape.name = event.target.value.trim(); draw(); $("places-words").textContent = "Not saved yet."; } }))
      : element("span", {}, HINTS[shape.kind]);
    const gone = element("button", { type: "button", class: "push", "aria-label": `delete ${shape.name || NAMES[shape.kind]}`,
      onclick: () => { shapes = shapes.filter((one) => one !== shape); if (drawing === shape) end(); draw(); $("places-words").textContent = "Not saved yet."; } }, "Delete");
    return element("li", {}, element("b", {}, NAMES[shape.kind]), name, inside, gone);
  }));
  if (!shapes.length) $("shape-list").append(element("li", {}, "Nothing is drawn yet."));
  count();
}

function within(points, x, y) {
  let inside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [xi, yi] = points[i], [xj, yj] = points[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

function count() {
  for (const shape of shapes) {
    if (shape.kind !== "zones" || !shape.inside) continue;
    // Where somebody stands: the middle of the box's lower edge.
    const n = people.filter(({ box }) => within(shape.points, (box[0] + box[2]) / 2, Math.min(box[3], 0.9999))).length;
    const words = `${n} inside now`;
    if (shape.inside.textContent !== words) shape.inside.textContent = words;
  }
}

async function save() {
  end();
  const names = shapes.filter((s) => s.kind === "zones" || s.kind === "lines").map((s) => `${s.kind} ${s.name}`);
  if (names.some((name) => !name.split(" ").slice(1).join(" ")) || new Set(names).size < names.length) {
    $("places-words").textContent = "Each zone and line needs a name of its own.";
    return;
  }
  const places = { zones: {}, lines: {}, masks: [], motion_masks: [] };
  for (const shape of shapes) {
    if (Array.isArray(places[shape.kind])) places[shape.kind].push(shape.points);
    else places[shape.kind][shape.name] = shape.points;
  }
  try {
    stamp = (await ask(`api/cameras/${camera}/places`, { places, stamp })).stamp;
    draw();
    $("places-words").textContent = "Saved; the camera goes on with them now.";
    await rules.show(camera, true);
  } catch (error) {
    $("places-words").textContent = error.message;
  }
}

$("setup-camera").addEventListener("change", (event) => { location.hash = `#setup/${encodeURIComponent(event.target.value)}`; });
for (const button of document.querySelectorAll("[data-draw]")) button.addEventListener("click", () => begin(button.dataset.draw));
$("finish").addEventListener("click", finish);
$("save-places").addEventListener("click", save);
svg().addEventListener("pointerdown", addCorner);
// A rule that was saved changed the file.
addEventListener("file-changed", (event) => { stamp = event.detail; });
