// Saves every answer as soon as it is given, and keeps in the browser what could not be sent until it has been.
// Without this file the same form works by its buttons.
"use strict";

document.querySelector("[data-focus]")?.focus({ preventScroll: !document.querySelector(".summary") });
// A page that comes back out of the browser's memory may show answers that have changed since.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
// Only one of the two boxes in the bar is open, and Escape closes it.
const drops = [...document.querySelectorAll("details.drop")];
for (const drop of drops) {
  drop.addEventListener("toggle", () => { if (drop.open) for (const other of drops) if (other !== drop) other.open = false; });
}
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && drops.find((drop) => drop.open);
  if (open) { open.open = false; open.querySelector("summary").focus(); }
});
// What scrolls can be reached by keyboard.
for (const box of document.querySelectorAll("[data-scroll]")) {
  if (box.scrollHeight > box.clientHeight + 1) {
    box.tabIndex = 0;
    // A group and no region: the section around it is one by the same name already.
    box.setAttribute("role", "group");
    box.setAttribute("aria-labelledby", box.dataset.scroll);
  }
}

const form = document.querySelector("form.rating");
const prefix = "culturecare-form ";
const SHORTEST_PAUSE = 1500;
const LONGEST_PAUSE = 10000;
const DOUBLE_CLICK = 500;
// A reason is kept by the browser until another page shows that the server took it.
try {
  for (const key of Object.keys(localStorage)) {
    if (!key.startsWith(prefix) || key === prefix + form?.dataset.store) continue;
    const { reason, ...others } = JSON.parse(localStorage.getItem(key));
    if (!reason?.left) continue;
    if (Object.keys(others).length) localStorage.setItem(key, JSON.stringify(others)); else localStorage.removeItem(key);
  }
} catch { /* The browser keeps nothing for pages. */ }
if (form) start();

function start() {
  const late = form.querySelector(".late");
  const saved = form.querySelector(".saved");
  const cells = new Map([...form.querySelectorAll("[data-cell]")].map((cell) => [cell.dataset.cell, cell]));
  const reason = form.querySelector("[data-draft]");
  let busy = null;
  let failed = false;
  let typing = 0;
  let retry = 0;
  let pause = SHORTEST_PAUSE;
  let leaving = false;

  // --- What was not sent yet: by cell, the fields and since when. It is kept by the browser, for all tabs, through reloads and crashes.
  const kept = prefix + form.dataset.store;
  let memory = null;
  function read() {
    if (memory) return memory;
    try { return JSON.parse(localStorage.getItem(kept) ?? "{}"); } catch { return memory = {}; }
  }
  function change(how) {
    const box = read();
    how(box);
    if (memory) return;
    try {
      if (Object.keys(box).length) localStorage.setItem(kept, JSON.stringify(box)); else localStorage.removeItem(kept);
    } catch { memory = box; /* The browser keeps nothing for pages, or has no room left: then it is kept as long as the page is. */ }
  }
  const fieldsOf = (cell) => {
    const fields = {};
    for (const field of cell.querySelectorAll("input, textarea")) {
      if (field.type !== "radio" || field.checked) fields[field.name] = field.value;
    }
    return fields;
  };
  const rows = (cell) => [...cell.querySelectorAll(".row")];
  // An order is an answer once each reply has its place.
  const isWhole = (name) => rows(cells.get(name)).every((row) => row.querySelector(":checked"));
  const unsent = () => Object.keys(read()).filter((name) => cells.has(name) && isWhole(name));

  function note(name) {
    const cell = cells.get(name);
    change((box) => { box[name] = { fields: fieldsOf(cell), since: Date.now() }; });
    cell.classList.remove("answered");
    saved.textContent = "";
  }
  function mark(cell) {
    const fields = Object.values(fieldsOf(cell));
    cell.classList.toggle("answered", fields.length > 0 && fields.every((value) => value.trim()));
    if (cell.classList.contains("answered") && cell.classList.contains("missing")) {
      cell.classList.remove("missing");
      for (const group of [cell, ...cell.querySelectorAll("[aria-invalid]")]) group.removeAttribute("aria-invalid");
    }
  }

  // --- Sending, one answer after the other.
  function flush() {
    clearTimeout(retry);
    busy ??= send().finally(() => { busy = null; });
    return busy;
  }
  async function send() {
    for (let names = unsent(); names.length; names = unsent()) {
      const name = names[0];
      const { fields, since } = read()[name];
      const body = new URLSearchParams({ ...fields, age: String(Math.max(0, Date.now() - since)) });
      let answer;
      try {
        // What is kept alive arrives although the page is left, and may have 64 KiB.
        const keepalive = body.toString().length < 60000;
        answer = await fetch(form.dataset.answer, { method: "POST", body, keepalive, signal: AbortSignal.timeout?.(10000) });
      } catch { return fail(late.dataset.late); }
      // What the server refuses, it will refuse again.
      if (answer.status < 500 && !answer.ok) return fail(late.dataset.problem, false);
      // A proxy says that there is no server; everything else is said by the server, which cannot write.
      if (!answer.ok) return fail([502, 503, 504].includes(answer.status) ? late.dataset.late : late.dataset.unstored);
      const { passed_over: passedOver } = await answer.json();
      // Only if it has not been changed again meanwhile.
      change((box) => { if (box[name]?.since === since) delete box[name]; });
      if (passedOver) return location.reload();
      if (!(name in read())) mark(cells.get(name));
    }
    failed = false;
    pause = SHORTEST_PAUSE;
    late.hidden = true;
    late.textContent = "";
    saved.textContent = saved.dataset.saved;
  }
  function fail(sentence, again = true) {
    failed = true;
    saved.textContent = "";
    if (late.hidden || late.textContent !== sentence) { late.hidden = false; late.textContent = sentence; }
    if (again) retry = setTimeout(flush, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }

  // --- Answering.
  function order(cell, changed) {
    // Each place is given once: the reply that had it loses it, and a reply that is left alone gets the place that is left.
    const all = rows(cell);
    const here = changed?.closest(".row");
    for (const row of changed ? all : []) {
      if (row !== here) for (const field of row.querySelectorAll(":checked")) if (field.value === changed.value) field.checked = false;
    }
    const without = all.filter((row) => !row.querySelector(":checked"));
    if (changed && without.length === 1) {
      const taken = new Set(all.map((row) => row.querySelector(":checked")?.value));
      for (const field of without[0].querySelectorAll("input")) if (!taken.has(field.value)) field.checked = true;
    }
    const placed = all.map((row) => row.querySelector(":checked")).filter(Boolean).sort((one, other) => one.value - other.value);
    const pieces = placed.map((field) => `${field.value} ${field.closest(".row").querySelector(".which").firstChild.textContent.trim()}`);
    const shown = cell.querySelector(".order");
    if (shown.textContent === pieces.join(" · ")) return;
    shown.replaceChildren(...pieces.flatMap((piece, place) => {
      const apart = document.createElement("bdi");
      apart.textContent = piece;
      return place ? [" · ", apart] : [apart];
    }));
  }
  form.addEventListener("change", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (!cell) return;
    if (cell.classList.contains("ranking")) order(cell, event.target);
    clearTimeout(typing);
    note(cell.dataset.cell);
    flush();
  });
  form.addEventListener("input", (event) => {
    if (event.target === reason) change((box) => { if (reason.value) box.reason = { draft: reason.value }; else delete box.reason; });
    const cell = event.target.closest(".text[data-cell]");
    if (!cell) return;
    note(cell.dataset.cell);
    clearTimeout(typing);
    typing = setTimeout(flush, 600);
  });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") flush(); });
  window.addEventListener("pagehide", () => flush());
  window.addEventListener("online", () => flush());

  // --- Keys. Digits count only where the focus is in a question, so that they take nothing from a screen reader or from speech input.
  form.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (event.repeat) return; // A key held down means one page.
      form.requestSubmit(form.querySelector("button[name=go_on]"));
      return;
    }
    if (event.ctrlKey || event.metaKey || event.target.type !== "radio") return;
    const digit = /^[0-9]$/.test(event.key) ? event.key : /^(?:Digit|Numpad)([0-9])$/.exec(event.shiftKey ? "" : event.code)?.[1];
    if (digit === undefined) return;
    const group = event.target.closest("[role=radiogroup]");
    const field = [...group.querySelectorAll("input[type=radio]")].find((one) => one.dataset.key === digit);
    if (!field) return;
    event.preventDefault();
    field.focus();
    if (!field.checked) { field.checked = true; field.dispatchEvent(new Event("change", { bubbles: true })); }
  });

  // --- The second half of a double click belongs to the page before, and must not leave this post out.
  let leftAt = 0;
  try { leftAt = Number(sessionStorage.getItem(prefix)); } catch { /* The browser keeps nothing for pages. */ }
  form.addEventListener("click", (event) => {
    // A click by keyboard has no count.
    if (event.target.closest("button") && event.detail && Math.abs(Date.now() - leftAt) < DOUBLE_CLICK) event.preventDefault();
  });

  // --- Going on. What was sent already is not sent again: it may have been changed in another tab since.
  form.addEventListener("submit", (event) => {
    if (leaving) return;
    if (!unsent().length && !busy) { leave(); return; }
    event.preventDefault();
    const pressed = event.submitter;
    clearTimeout(typing);
    flush().then(() => {
      if (failed || unsent().length) { late.scrollIntoView({ block: "nearest" }); return; }
      leave();
      form.requestSubmit(pressed);
    });
  });
  function leave() {
    leaving = true;
    change((box) => { if (box.reason) box.reason.left = true; });
    try { sessionStorage.setItem(prefix, Date.now()); } catch { /* The browser keeps nothing for pages. */ }
  }
  form.addEventListener("formdata", (event) => {
    const box = read();
    for (const [name, cell] of cells) {
      if (!(name in box)) for (const field of cell.querySelectorAll("input, textarea")) event.formData.delete(field.name);
    }
  });

  // --- What an earlier visit could not send is shown, and sent now.
  for (const [name, { fields }] of Object.entries(read())) {
    const cell = cells.get(name);
    for (const field of cell?.querySelectorAll("input, textarea") ?? []) {
      if (field.type === "radio") field.checked = fields[field.name] === field.value;
      else field.value = fields[field.name] ?? "";
    }
    cell?.classList.remove("answered");
  }
  if (read().reason) reason.value = read().reason.draft;
  change((box) => { if (box.reason) delete box.reason.left; });
  for (const cell of cells.values()) if (cell.classList.contains("ranking")) order(cell);
  if (unsent().length) flush();
}
