// The rules of a camera: a list, a form for the common ones, and what a rule would have told lately.
import { ask, element } from "./line.js";

const $ = (id) => document.getElementById(id);
const OF_KIND = {
  action: ["for"], stay: ["for"], enter: [], leave: [], cross: ["line", "direction"], nobody: ["for"], crowd: ["more_than", "for"],
};
let camera = "", stamp = "", before = null, actions = [], late = null, asked = 0;

// With `keep` what was filled in stays: only the zones and lines to choose from are new.
export async function show(name, keep = false) {
  camera = name;
  try {
    const got = await ask(`api/cameras/${camera}/rules`);
    if (name !== camera) return;
    stamp = got.stamp;
    actions = got.actions;
    const chosen = $("rule-action").value;
    $("rule-action").replaceChildren(...actions.map((a) => new Option(a.short + (a.proven ? "" : " (not proven)"), a.name)));
    if (actions.some((a) => a.name === chosen)) $("rule-action").value = chosen;
    const [crossed, inside] = [$("rule-line").value, [...$("rule-zones").querySelectorAll("input:checked")].map((box) => box.value)];
    $("rule-line").replaceChildren(...got.lines.map((one) => new Option(one, one)));
    $("rule-zones").replaceChildren(element("legend", {}, "Only in"), ...got.zones.map((zone) =>
      element("label", {}, element("input", { type: "checkbox", value: zone }), zone)), ...(got.zones.length ? [] : ["the whole picture (no zone is drawn)"]));
    $("rule-list").replaceChildren(...got.rules.map(row), ...(got.rules.length ? [] : [element("li", {}, "No rule yet.")]));
    if (!keep) return fresh();
    if (got.lines.includes(crossed)) $("rule-line").value = crossed;
    for (const box of $("rule-zones").querySelectorAll("input")) box.checked = inside.includes(box.value);
    preview();
  } catch (error) {
    $("rule-words").textContent = error.message;
  }
}

function row(rule) {
  const words = `${rule.name}: ${rule.kind}${rule.action ? ` ${[].concat(rule.action).join(", ")}` : ""}${rule.for !== undefined ? ` for ${rule.for}` : ""}` +
    (rule.zones && rule.zones.length ? ` in ${[].concat(rule.zones).join(", ")}` : "") + (rule.line ? ` over ${rule.line}` : "");
  return element("li", {}, element("span", {}, words),
    element("button", { type: "button", class: "push", "aria-label": `change ${rule.name}`, onclick: () => edit(rule) }, "Change"),
    element("button", { type: "button", class: "push", "aria-label": `delete ${rule.name}`, onclick: () => save(null, rule.name) }, "Delete"));
}

function fresh() {
  before = null;
  $("rule-form").reset();
  $("rule-name").value = "";
  kindChanged();
}

// `90`, `90s`, `1.5m`, `2h` in seconds, as the file may have it.
function seconds(value) {
  const found = /^\s*([0-9.]+)\s*(ms|s|m|min|h|d)?\s*$/.exec(String(value ?? ""));
  return found ? Number(found[1]) * { ms: 1e-3, s: 1, m: 60, min: 60, h: 3600, d: 86400 }[found[2] || "s"] : "";
}

function edit(rule) {
  before = rule;
  $("rule-name").value = rule.name;
  $("rule-kind").value = rule.kind;
  if (rule.action) $("rule-action").value = (actions.find((a) => [a.name, a.short].includes([].concat(rule.action)[0])) || {}).name || "";
  $("rule-over").value = rule.over ?? "";
  $("rule-for").value = seconds(rule.for);
  $("rule-more").value = rule.more_than ?? 2;
  $("rule-line").value = rule.line ?? "";
  $("rule-direction").value = rule.direction ?? "both";
  $("rule-unproven").checked = Boolean(rule.even_if_unproven);
  for (const box of $("rule-zones").querySelectorAll("input")) box.checked = [].concat(rule.zones || []).includes(box.value);
  kindChanged();
  $("rule-name").focus();
}

function kindChanged() {
  const kind = $("rule-kind").value;
  for (const part of $("rule-form").querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(kind);
  preview();
}

function built() {
  const kind = $("rule-kind").value;
  // What the form does not know of stays as the file has it.
  const rule = before && before.kind === kind ? { ...before } : {};
  Object.assign(rule, { name: $("rule-name").value.trim() || "rule", kind });
  if (kind === "action") {
    const several = [].concat(rule.action || []);
    if (several.length < 2) rule.action = $("rule-action").value;
    if ($("rule-over").value === "") delete rule.over;
    else rule.over = Number($("rule-over").value);
    if ($("rule-unproven").checked) rule.even_if_unproven = true;
    else delete rule.even_if_unproven;
  }
  if (OF_KIND[kind].includes("for")) { if (seconds(rule.for) !== Number($("rule-for").value)) rule.for = `${Number($("rule-for").value)}s`; }
  if (kind === "crowd") rule.more_than = Number($("rule-more").value);
  if (kind === "cross") Object.assign(rule, { line: $("rule-line").value, direction: $("rule-direction").value });
  else {
    const zones = [...$("rule-zones").querySelectorAll("input:checked")].map((box) => box.value);
    if (zones.length) rule.zones = zones;
    else delete rule.zones;
  }
  return rule;
}

function preview() {
  clearTimeout(late);
  late = setTimeout(async () => {
    const mine = ++asked;
    try {
      const told = await ask(`api/cameras/${camera}/rules/preview`, { rule: built() });
      if (mine !== asked) return;
      const span = told.minutes >= 59 ? "in the last hour" : `in the last ${told.minutes < 1 ? "minute" : `${Math.round(told.minutes)} min`} (since the start)`;
      const when = told.events.filter(([utc]) => utc).map(([utc]) => new Date(utc * 1000).toLocaleTimeString());
      $("rule-preview").textContent = `Would have told ${told.times === 1 ? "once" : `${told.times} times`} ${span}` +
        (when.length ? `, last at ${when.slice(-3).join(", ")}.` : ".") + (told.times || !told.why_not.length ? "" : ` ${told.why_not[0]}`);
    } catch (error) {
      if (mine === asked) $("rule-preview").textContent = error.message;
    }
  }, 350);
}

async function save(rule, name) {
  try {
    stamp = (await ask(`api/cameras/${camera}/rules`, { stamp, rule, before: name })).stamp;
    dispatchEvent(new CustomEvent("file-changed", { detail: stamp }));
    await show(camera);
    $("rule-words").textContent = rule ? `${rule.name} is saved and at work.` : `${name} is deleted.`;
  } catch (error) {
    $("rule-words").textContent = error.message;
  }
}

$("rule-kind").addEventListener("change", kindChanged);
$("rule-form").addEventListener("input", preview);
$("rule-new").addEventListener("click", () => { fresh(); $("rule-name").focus(); });
$("rule-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("rule-name").value.trim()) { $("rule-words").textContent = "A rule needs a name."; return; }
  save(built(), before ? before.name : "");
});
