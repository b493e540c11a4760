// Events as they come, newest first, with picture, film and reasons; and the plot of a day.
import { ask, element } from "./line.js";

const $ = (id) => document.getElementById(id);
const MOST = 100;
let socket = null, shown = false, plotly = null, wantedDay = "", late = null;
const known = new Map();
// What stands for what in the plot, by its name there.
let colours = {};

export function show(_, camera) {
  shown = true;
  if (camera) fill("by-camera", [camera], camera);
  load();
  loadDay();
  follow();
}

export function hide() {
  shown = false;
  if (socket) socket.close();
}

const filters = () => ({ camera: $("by-camera").value, rule: $("by-rule").value, action: $("by-action").value });

async function load() {
  const query = new URLSearchParams({ most: MOST });
  for (const [key, value] of Object.entries({ ...filters(), since: $("by-since").value })) if (value) query.set(key, value);
  try {
    const found = await ask("api/events?" + query);
    known.clear();
    for (const event of found) known.set(event.id, event);
    $("events").replaceChildren(...found.map((event) => card(event)));
    words();
    choices(found);
  } catch (error) {
    $("events-words").textContent = error.message;
  }
}

function words() {
  const count = known.size;
  $("events-words").textContent = count ? `${count}${count >= MOST ? " or more" : ""} event${count === 1 ? "" : "s"}, newest first.`
    : "No event in this time. Rules are made under Zones and rules.";
}

function choices(events) {
  fill("by-camera", events.map((event) => event.camera));
  fill("by-rule", events.map((event) => event.rule));
  fill("by-action", events.map((event) => event.action).filter(Boolean));
}

function fill(id, values, chosen) {
  const select = $(id), there = new Set([...select.options].map((option) => option.value));
  for (const value of new Set(values)) if (!there.has(value)) select.append(new Option(value, value));
  if (chosen) select.value = chosen;
}

// ---------------------------------------------------------------- one event
const title = (event) => (event.action && event.action !== event.rule ? `${event.rule}: ${event.action}` : event.rule);
const clock = (utc) => (utc ? new Date(utc * 1000).toLocaleString() : "");

function card(event) {
  const item = element("li", { class: "event", "data-id": event.id });
  const picture = event.snapshot
    ? element("img", { src: `api/events/${event.id}/picture.jpg`, alt: `${title(event)} at ${event.camera}`, loading: "lazy", width: 160, height: 90 })
    : element("span", { class: "blank" }, "no picture (yet)");
  const lasted = event.seconds === null ? "goes on" : `${event.seconds.toFixed(1)} s`;
  const parts = [event.camera, clock(event.start_utc), lasted, event.zone && `in ${event.zone}`, event.direction, event.kind === "action" && `score ${event.peak_score.toFixed(2)}`];
  const more = element("div", { class: "more", hidden: true, id: `more-${event.id}` });
  const open = element("button", { type: "button", class: "push", "aria-expanded": "false", "aria-controls": more.id,
    onclick: () => toggle(event.id, item, open, more) }, event.film ? "Film and why" : "Why");
  item.append(picture, element("div", {},
    element("h3", {}, element("i", { class: "swatch" + (event.unproven ? " unproven" : ""), style: `--colour: ${colours[title(event)] || "#7f7f7f"}` }), title(event)),
    element("p", {}, parts.filter(Boolean).join(" · ")),
    event.unproven ? element("p", {}, "Not proven on real video.") : null,
    element("div", { class: "bar" }, open, mark(event, "right", "Right"), mark(event, "wrong", "Wrong"))), more);
  return item;
}

function mark(event, value, label) {
  const button = element("button", { type: "button", class: "push", "data-mark": value, "aria-pressed": String((event.mark || "").split(":")[0] === value) }, label);
  button.hidden = document.body.dataset.role !== "admin";
  button.addEventListener("click", async () => {
    const now = button.getAttribute("aria-pressed") === "true" ? "" : value;
    try {
      await ask(`api/events/${event.id}/mark`, { mark: now });
      event.mark = now;
      for (const other of button.parentElement.querySelectorAll("[data-mark]")) other.setAttribute("aria-pressed", String(other.dataset.mark === now));
      const asked = button.parentElement.querySelector(".truth");
      if (asked) asked.remove();
      if (now === "wrong" && event.action) button.parentElement.append(await truth(event));
    } catch (error) {
      $("events-words").textContent = error.message;
    }
  });
  return button;
}

// What it was instead: fine-tuning learns from that.
async function truth(event) {
  const { actions } = await ask(`api/cameras/${event.camera}/rules`);
  const select = element("select", {}, new Option("I do not know", "wrong"),
    ...actions.filter((a) => a.name !== event.action).map((a) => new Option(a.short, `wrong:${a.name}`)));
  select.addEventListener("change", () => ask(`api/events/${event.id}/mark`, { mark: select.value }).catch((error) => { $("events-words").textContent = error.message; }));
  return element("label", { class: "truth" }, "It was ", select);
}

async function toggle(id, item, button, more) {
  const opens = more.hidden;
  more.hidden = !opens;
  button.setAttribute("aria-expanded", String(opens));
  if (!opens) { more.replaceChildren(); return; }
  try {
    const event = await ask(`api/events/${id}`);
    const reasons = event.why.map((r) => element("li", {}, `${r.time_s.toFixed(2)} s: ${r.what} ${r.value.toFixed(2)} ${{ over: "≥", under: "<" }[r.crossed] || "against"} ${r.limit.toFixed(2)}`));
    more.replaceChildren(
      event.film ? element("video", { src: `api/events/${id}/film.mp4`, controls: true, playsinline: true, preload: "metadata", "aria-label": `film of ${title(event)}` })
        : event.snapshot ? element("img", { src: `api/events/${id}/picture.jpg`, alt: `${title(event)} at ${event.camera}` }) : "No film: none is made, or it is not there yet.",
      element("h4", {}, "Why"), element("ul", {}, ...reasons));
  } catch (error) {
    more.replaceChildren(error.message);
  }
}

// ---------------------------------------------------------------- as they come
function follow() {
  if (socket && socket.readyState <= 1) return;
  const address = new URL("api/events/changes", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address);
  socket.onmessage = (message) => changed(JSON.parse(message.data));
  socket.onclose = () => { if (shown) setTimeout(() => { if (shown) { load(); follow(); } }, 2000); };
}

function changed({ event }) {
  const wanted = Object.entries(filters()).every(([key, value]) => !value || event[key] === value);
  if (!wanted) return;
  const before = known.get(event.id);
  const made = card({ ...event, mark: before ? before.mark : "" });
  known.set(event.id, { ...event, mark: before ? before.mark : "" });
  const there = document.querySelector(`.event[data-id="${CSS.escape(event.id)}"]`);
  // What somebody has opened stays open; it shows the rest when it is opened again.
  if (there && !there.querySelector(".more").hidden) {
    there.querySelector("p").textContent = made.querySelector("p").textContent;
    return;
  }
  if (there) there.replaceWith(made);
  else {
    made.classList.add("new");
    $("events").prepend(made);
  }
  words();
  choices([event]);
  clearTimeout(late);
  late = setTimeout(loadDay, 1500);
}

// ---------------------------------------------------------------- the day
function loadPlotly() {
  plotly = plotly || new Promise((resolve, reject) => {
    document.head.append(element("script", { src: "plotly.js", onload: () => resolve(window.Plotly), onerror: () => reject(new Error("the plot cannot be loaded")) }));
  });
  return plotly;
}

async function loadDay() {
  try {
    const day = await ask("api/day" + (wantedDay ? `?date=${wantedDay}` : ""));
    $("day").value = day.date;
    $("day-words").textContent = `${day.events} event${day.events === 1 ? "" : "s"} on that day`;
    colours = Object.fromEntries(day.figure.data.map((trace) => [trace.name, trace.marker.color]));
    for (const item of document.querySelectorAll(".event")) {
      const event = known.get(item.dataset.id);
      if (event && colours[title(event)]) item.querySelector(".swatch").style.setProperty("--colour", colours[title(event)]);
    }
    const Plotly = await loadPlotly();
    if (!shown) return;
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    day.figure.layout.font.color = dark ? "#c9ced6" : "#3f4651";
    await Plotly.react($("plot"), day.figure.data, day.figure.layout, { displayModeBar: false, responsive: true, scrollZoom: true });
    $("plot").removeAllListeners("plotly_click");
    $("plot").on("plotly_click", (clicked) => open(clicked.points[0].customdata[0]));
  } catch (error) {
    $("day-words").textContent = error.message;
  }
}

async function open(id) {
  let there = document.querySelector(`.event[data-id="${CSS.escape(id)}"]`);
  if (!there) {
    there = card(await ask(`api/events/${id}`));
    $("events").prepend(there);
  }
  const button = there.querySelector("[aria-expanded]");
  if (button.getAttribute("aria-expanded") === "false") button.click();
  there.scrollIntoView({ block: "center", behavior: "smooth" });
  button.focus({ preventScroll: true });
}

function shift(days) {
  const date = new Date(`${$("day").value}T12:00`);
  date.setDate(date.getDate() + days);
  wantedDay = date.toLocaleDateString("sv");
  loadDay();
}
$("day").addEventListener("change", () => { wantedDay = $("day").value; loadDay(); });
$("day-before").addEventListener("click", () => shift(-1));
$("day-after").addEventListener("click", () => shift(1));
$("filter").addEventListener("change", load);
$("filter").addEventListener("submit", (event) => event.preventDefault());
