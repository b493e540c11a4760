// The page: which part is shown, who is logged in, what is lost. Each part has its own module.
import { line } from "./line.js";
import * as wall from "./wall.js";
import * as events from "./events.js";
import * as setup from "./setup.js";

const $ = (id) => document.getElementById(id);
const PAGES = { wall, camera: wall, events, setup };
let shown = "";

function route(first) {
  const [page, ...rest] = (location.hash.slice(1) || "wall").split("/").map(decodeURIComponent);
  const name = page in PAGES ? page : "wall";
  for (const one of Object.keys(PAGES)) $("page-" + one).hidden = one !== name;
  for (const link of document.querySelectorAll("nav a")) {
    const mine = link.dataset.page === (name === "camera" ? "wall" : name);
    if (mine) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown && PAGES[shown] !== PAGES[name]) PAGES[shown].hide();
  shown = name;
  PAGES[name].show(name, rest.join("/"));
  if (first !== true) $("main").focus({ preventScroll: true });
}

async function begin() {
  const answer = await fetch("api/me");
  if (answer.status === 401) { location.replace("login"); return; }
  const me = await answer.json();
  $("who").textContent = me.login ? `${me.name} (${me.role})` : "";
  $("logout").hidden = !me.login;
  document.body.dataset.role = me.role;
  line.onLost = (text) => { $("lost").textContent = text; $("lost").hidden = !text; };
  line.connect();
  addEventListener("hashchange", route);
  route(true);
}

$("logout").addEventListener("click", async () => {
  await fetch("logout", { method: "POST" });
  location.replace("login");
});
begin();
