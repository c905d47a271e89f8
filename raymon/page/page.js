// Merges the HTML from the server into the page without replacing what has not changed, so that focus, text being typed,
// selection and hovering survive each second; sends back what the viewer chooses. No network access of its own.
const SILENT_MS = 6000;
const AGING_MS = 2000;
const TYPING_MS = 120;
const RESEND_MS = 3000;

function sameKind(old, next) {
  return old.nodeType === next.nodeType && old.nodeName === next.nodeName && keyOf(old) === keyOf(next);
}

function keyOf(node) {
  return node.nodeType === 1 ? node.getAttribute("data-key") : null;
}

function syncAttributes(old, next) {
  for (const { name } of [...old.attributes]) if (!next.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
  for (const { name, value } of next.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function morph(old, next, busy) {
  if (old.nodeType !== 1) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  syncAttributes(old, next);
  if (old.localName === "input" && old.dataset.bind && !busy(old)) old.value = next.getAttribute("value") || "";
  if (old.localName === "select" && busy(old)) return;
  morphChildren(old, next, busy);
  // An option that was picked once no longer follows its attribute.
  if (old.localName === "select") for (const option of old.options) option.selected = option.hasAttribute("selected");
}

function morphChildren(old, next, busy) {
  const keyed = new Map();
  for (const child of old.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    const known = keyed.get(keyOf(wanted));
    if (known && known !== at && known.nodeName === wanted.nodeName) old.insertBefore(known, at);
    else if (!at || !sameKind(at, wanted)) {
      old.insertBefore(wanted, at);
      continue;
    }
    const match = known && known.nodeName === wanted.nodeName ? known : at;
    if (match === at) at = at.nextSibling;
    morph(match, wanted, busy);
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

function showTip(tip, text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x - width / 2, innerWidth - width - 8))}px`;
  tip.style.top = `${y + height + 24 > innerHeight ? y - height - 14 : y + 16}px`;
}

function readout(plot, clientX) {
  const [at, words] = JSON.parse(plot.dataset.readout);
  const box = plot.getBoundingClientRect();
  const wanted = ((clientX - box.left) / box.width) * 1000;
  let best = 0;
  for (let i = 1; i < at.length; i++) if (Math.abs(at[i] - wanted) < Math.abs(at[best] - wanted)) best = i;
  return at.length ? { text: words[best], x: box.left + (at[best] / 1000) * box.width } : null;
}

function listen(root, tip, send) {
  const pick = (event, selector) => event.target.closest && event.target.closest(selector);
  root.addEventListener("click", (event) => {
    const source = pick(event, "[data-set]");
    if (!source || (source.localName === "tr" && String(getSelection()))) return;
    const [name, ...value] = source.dataset.set.split("=");
    send({ [name]: value.join("=") });
  });
  root.addEventListener("input", (event) => {
    const bound = pick(event, "input[data-bind]");
    if (bound) send({ [bound.dataset.bind]: bound.value, rows: "" }, TYPING_MS);
  });
  root.addEventListener("change", (event) => {
    const bound = pick(event, "select[data-bind]");
    if (bound) send({ [bound.dataset.bind]: bound.value });
    if (bound) bound.blur();
  });
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    send({ token: root.querySelector("input[name=token]").value });
  });
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tip.hidden = true;
    const close = root.querySelector("[data-escape]");
    if (close && event.target.localName !== "input") close.click();
  });
  root.addEventListener("pointermove", (event) => {
    const plot = pick(event, "[data-readout]");
    const point = plot && readout(plot, event.clientX);
    const help = pick(event, "[data-help]");
    if (point) showTip(tip, point.text, point.x, event.clientY);
    else if (help) showTip(tip, help.dataset.help, event.clientX, event.clientY);
    else tip.hidden = true;
  });
  root.addEventListener("pointerleave", () => (tip.hidden = true));
  root.addEventListener("focusin", (event) => {
    const help = pick(event, "[data-help]");
    if (!help || !help.matches(":focus-visible")) return;
    const box = help.getBoundingClientRect();
    showTip(tip, help.dataset.help, box.left + box.width / 2, box.bottom - 10);
  });
  root.addEventListener("focusout", () => (tip.hidden = true));
}

function inWords(seconds) {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  return seconds < 3570 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

// The server writes every age again each second; without it the ages grow here.
function growAges(view, silentSeconds) {
  for (const age of view.querySelectorAll("[data-age]")) {
    age.textContent = `${inWords(Number(age.dataset.age) + silentSeconds)} ${age.dataset.suffix || "ago"}`;
  }
}

function watchSilence(root, view) {
  setInterval(() => {
    const age = Date.now() - root.seen;
    if (age > AGING_MS) growAges(view, age / 1000);
    const silent = Math.min(age, Date.now() - root.visible);
    const page = view.querySelector(".page");
    if (document.hidden || !page) return;
    let banner = view.querySelector(".banner.silent");
    page.classList.toggle("frozen", silent > SILENT_MS);
    if (silent <= SILENT_MS) return banner && banner.remove();
    if (!banner) {
      banner = document.createElement("p");
      banner.className = "banner silent";
      banner.setAttribute("role", "alert");
      page.insertBefore(banner, page.children[1] || null);
    }
    banner.textContent = `raymon status has not answered for ${inWords(age / 1000)}: the page shows what was seen last.`;
  }, 1000);
  document.addEventListener("visibilitychange", () => (root.visible = Date.now()));
}

export default function draw({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".raymon");
  const view = root.querySelector(".view");
  if (!root.seen) {
    const tip = root.querySelector(".tip");
    root.pending = {};
    root.visible = Date.now();
    root.sent = Date.now(); // larger than any number that this viewer sent to the server before
    // The next event may replace one before the server has run, or the connection may lose it: each event carries all
    // that is not acknowledged yet, and text being typed goes with a click that follows it.
    root.send = (event, delay = 0) => {
      Object.assign(root.pending, event);
      clearTimeout(root.timer);
      root.timer = setTimeout(() => {
        root.timer = 0;
        root.sentAt = performance.now();
        root.trigger("choose", { ...root.pending, number: ++root.sent });
      }, delay);
    };
    listen(root, tip, root.send);
    watchSilence(root, view);
  }
  root.seen = Date.now();
  root.trigger = setTriggerValue;
  if (!data) return;
  if (!root.timer) {
    if (data.acknowledged >= root.sent) root.pending = {};
    else if (Object.keys(root.pending).length && performance.now() - root.sentAt > RESEND_MS) root.send({});
  }
  document.title = data.title;
  document.documentElement.lang = "en";
  const fresh = document.createElement("template");
  fresh.innerHTML = data.html;
  const active = parentElement.activeElement || document.activeElement;
  morphChildren(view, fresh.content, (node) => node === active || node.dataset.bind in root.pending);
}
