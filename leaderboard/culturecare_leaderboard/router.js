// Follows links and forms of the pages without loading the app anew, and keeps the browser's address as what is shown.
// Runs once, within a gr.HTML that shows the page: `element`, `trigger`, `props` and `watch` are gradio's.
const accepted = "culturecare-replies-accepted";
const kept = () => [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__"));
const withKept = (query) => {
  const all = new URLSearchParams(query);
  for (const [name, value] of kept()) all.set(name, value);
  const text = all.toString();
  return text ? "?" + text : location.pathname;
};
const isAccepted = () => { try { return sessionStorage.getItem(accepted) === "yes"; } catch { return false; } };
let place = "";
let wait = 0;
let late = 0;
let justAccepted = false;

function show(query) {
  element.setAttribute("aria-busy", "true");
  clearTimeout(late);
  late = setTimeout(sayLate, 20000);
  trigger("submit", { query, accepted: justAccepted || isAccepted() });
}
function sayLate() {
  element.removeAttribute("aria-busy");
  const note = document.createElement("p");
  note.className = "notice";
  note.setAttribute("role", "alert");
  note.textContent = "The server does not answer. What you see may not be what you asked for; load this page again.";
  (element.querySelector("#content") ?? element.querySelector(".cc") ?? element).prepend(note);
}
function visit(query, replace) {
  const target = withKept(query);
  if (replace) history.replaceState(null, "", target); else history.pushState(null, "", target);
  show(query);
}
// Hub pages show a Space in a frame; this tells the page around it which address to show.
function tellParent() {
  if (window.parent !== window) window.parent.postMessage({ queryString: location.search, hash: "" }, "https://huggingface.co");
}
function ofForm(form, submitter) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form, submitter)) if (value) fields.set(name, value);
  return fields.toString();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.(".cc a[href^='?']");
  if (link && event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)) {
    event.preventDefault();
    visit(link.getAttribute("href").slice(1), false);
  }
  if (event.target.closest?.(".cc [data-accept]")) {
    try { sessionStorage.setItem(accepted, "yes"); } catch { /* Then it is asked again on the next page. */ }
    justAccepted = true;
    show(location.search);
  }
  // gradio's <base> makes a link within the page one to another page.
  const within = event.target.closest?.(".cc a[href^='#']");
  if (within) { event.preventDefault(); document.querySelector(within.getAttribute("href"))?.focus(); }
});
document.addEventListener("submit", (event) => {
  const form = event.target.closest?.(".cc form");
  if (form) { event.preventDefault(); clearTimeout(wait); visit(ofForm(form, event.submitter), false); }
});
document.addEventListener("change", (event) => {
  const field = event.target.closest?.(".cc form select");
  if (field) visit(ofForm(field.form), false);
});
document.addEventListener("input", (event) => {
  const field = event.target.closest?.(".cc form input[type=search]");
  if (field) { clearTimeout(wait); wait = setTimeout(() => visit(ofForm(field.form), true), 250); }
});
window.addEventListener("popstate", () => show(location.search));

watch("value", () => {
  clearTimeout(late);
  element.removeAttribute("aria-busy");
  const page = element.querySelector("[data-query]");
  if (!page) return;
  const target = withKept(page.dataset.query);
  if (target !== location.search) history.replaceState(null, "", target);
  document.title = page.dataset.title;
  // What a reader has changed in a field is not what its markup says; the markup is right, save for the field being typed in.
  for (const field of element.querySelectorAll("select")) {
    const index = [...field.options].findIndex((option) => option.hasAttribute("selected"));
    field.selectedIndex = Math.max(index, 0);
  }
  for (const field of element.querySelectorAll("input[type=search]")) {
    if (field !== document.activeElement) field.value = field.getAttribute("value") ?? "";
  }
  if (place && place !== page.dataset.place) {
    window.scrollTo(0, 0);
    element.querySelector("h2")?.focus({ preventScroll: true });
  }
  if (justAccepted) page.querySelector("[data-replies]")?.focus();
  justAccepted = false;
  place = page.dataset.place;
  page.querySelector("header nav ul")?.scrollTo({ left: page.querySelector("header nav a[aria-current]")?.offsetLeft - 40 });
  const again = page.querySelector("[data-again]");
  if (again) setTimeout(() => show(location.search), Number(again.dataset.again));
  tellParent();
});
show(location.search);
