// The wall of tiles, and one camera large.
import { line, paint, element } from "./line.js";

const $ = (id) => document.getElementById(id);
const TILE_FPS = 5, LARGE_FPS = 25;
const tiles = new Map();
const visible = new Set();
let page = "wall", large = "";

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) visible.add(entry.target.dataset.camera);
    else visible.delete(entry.target.dataset.camera);
  }
  want();
}, { rootMargin: "40px" });

export function show(name, camera) {
  page = name;
  large = name === "camera" ? camera : "";
  line.onState.add(tell);
  if (large) {
    $("camera-title").textContent = large;
    $("camera-events").href = `#events/${encodeURIComponent(large)}`;
    $("camera-setup").href = `#setup/${encodeURIComponent(large)}`;
    const canvas = document.querySelector("#large canvas");
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }
  tell(line.state);
  want();
}

export function hide() {
  line.onState.delete(tell);
  line.onPicture.clear();
  line.want({});
}

function want() {
  const ratio = Math.min(window.devicePixelRatio || 1, 2), wanted = {};
  line.onPicture.clear();
  if (page === "camera") {
    const canvas = document.querySelector("#large canvas");
    wanted[large] = [Math.round((canvas.clientWidth || innerWidth) * ratio), LARGE_FPS];
    line.onPicture.set(large, (bitmap, about, styles) => {
      paint(canvas, bitmap, about, styles);
      $("camera-hatched").hidden = !about.people.some((p) => p.actions.some(([name]) => styles[name] && !styles[name][1]));
    });
  } else {
    for (const [name, tile] of tiles) {
      if (!visible.has(name)) continue;
      wanted[name] = [Math.round((tile.canvas.clientWidth || 320) * ratio), TILE_FPS];
      line.onPicture.set(name, (bitmap, about, styles) => paint(tile.canvas, bitmap, about, styles));
    }
  }
  line.want(wanted);
}
addEventListener("resize", () => { if (!$("page-wall").hidden || !$("page-camera").hidden) want(); });

function makeTile(name) {
  const canvas = element("canvas", { role: "img", "aria-label": `picture of ${name}` });
  const veil = element("span", { class: "veil" }, "…");
  const mood = element("span", { class: "mood" }), rates = element("span", { class: "rates" });
  const link = element("a", { class: "tile", href: `#camera/${encodeURIComponent(name)}` },
    element("span", { class: "screen" }, canvas, veil), element("span", { class: "caption" }, element("b", {}, name), mood, rates));
  const item = element("li", { "data-camera": name }, link);
  watcher.observe(item);
  return { item, canvas, veil, mood, rates };
}

function tell(state) {
  if (!state.length) return;
  const names = state.map((camera) => camera.name);
  for (const [name, tile] of tiles) {
    if (names.includes(name)) continue;
    tile.item.remove();
    tiles.delete(name);
    visible.delete(name);
  }
  for (const camera of state) {
    if (!tiles.has(camera.name)) {
      tiles.set(camera.name, makeTile(camera.name));
      $("tiles").append(tiles.get(camera.name).item);
    }
    const tile = tiles.get(camera.name), dead = camera.mood === "bad" || camera.mood === "off" || camera.state === "starting";
    veilOf(tile.veil, camera, dead);
    tile.mood.className = "mood " + camera.mood;
    put(tile.mood, dead ? { bad: "not live", off: "off" }[camera.mood] || "starting" : camera.words);
    put(tile.rates, dead ? "" : `${camera.camera_fps.toFixed(0)}/s · ${camera.answers_per_s.toFixed(1)} answers/s`);
  }
  const wide = innerWidth, count = state.length;
  const columns = wide < 520 ? (count > 6 ? 2 : 1) : count === 1 ? 1 : count <= 4 ? 2 : count <= 9 || wide < 1000 ? 3 : 4;
  $("tiles").style.setProperty("--columns", columns);
  const bad = state.filter((camera) => camera.mood === "bad");
  put($("wall-words"), `${count} camera${count === 1 ? "" : "s"}, ` + (bad.length ? `not live: ${bad.map((c) => c.name).join(", ")}.` : "all that should be are live."));
  if (page === "camera") tellLarge(state.find((camera) => camera.name === large));
}

function tellLarge(camera) {
  if (!camera) { put($("camera-words"), "There is no camera of that name."); return; }
  const dead = camera.mood === "bad" || camera.mood === "off" || camera.state === "starting";
  veilOf(document.querySelector("#large .veil"), camera, dead);
  $("camera-words").className = "words " + camera.mood;
  put($("camera-words"), camera.words);
  const numbers = {
    "pictures taken": `${camera.camera_fps.toFixed(1)} a second`, answers: `${camera.answers_per_s.toFixed(2)} a second`,
    "labels late": `${camera.delay_s.toFixed(2)} s`, people: camera.people,
    "left out": Object.entries(camera.drops).map(([why, n]) => `${n} ${why}`).join(", ") || "nothing",
    reconnects: Object.entries(camera.reconnects).map(([why, n]) => `${n} ${why}`).join(", ") || "none",
  };
  $("camera-numbers").replaceChildren(...Object.entries(numbers).flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, String(value))]));
}

function veilOf(veil, camera, dead) {
  veil.hidden = !dead;
  veil.classList.toggle("bad", camera.mood === "bad");
  if (dead) put(veil, camera.words);
}

// Only what has changed is put, so that screen readers do not read it all again every second.
function put(box, words) { if (box.textContent !== words) box.textContent = words; }
