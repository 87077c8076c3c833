"use strict";
// The page shows what the server tells it (`show`), and sends what its user asks for.

const texts = JSON.parse(document.body.dataset.texts);
const atOnce = Number(document.body.dataset.atOnce);
const find = (query, within = document) => within.querySelector(query);
const all = (query, within = document) => [...within.querySelectorAll(query)];
const say = (name, values = {}) => texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
const number = (name, n) => say(`${name}_${n === 1 ? "one" : "many"}`, { n });

let state = { photos: [], jobs: {} };
let until = null; // when the job will be done, in milliseconds
let ended = false;
const local = new Map(); // photo's id -> address of the file in this browser
const waiting = []; // files that are still to be sent
let sending = 0, sent = 0;

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ---- asking the server

async function ask(method, address, body, headers = {}) {
  try {
    const answer = await fetch(address, { method, body, headers, credentials: "same-origin" });
    const found = answer.status === 204 ? {} : await answer.json();
    return { status: answer.status, faults: answer.ok ? [] : found.faults || [texts.lost], ...found };
  } catch {
    return { status: 0, faults: [texts.lost] };
  }
}

const begin = (question) => ask("POST", "/jobs", JSON.stringify(question), { "Content-Type": "application/json" });
const chosen = (name) => find(`#settings [name=${name}]:checked`).value;

// ---- photos from this computer

async function* filesIn(entry, above = "") {
  const name = above + entry.name;
  if (entry.isFile) {
    yield [await new Promise((done, failed) => entry.file(done, failed)), name];
  } else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) return;
      for (const inner of some) yield* filesIn(inner, `${name}/`);
    }
  }
}

async function dropped(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  const files = [];
  for (const entry of entries) for await (const file of filesIn(entry)) files.push(file);
  take(files);
}

function take(files) {
  find("#not-taken").hidden = true;
  find("#not-taken ul").replaceChildren();
  // what systems leave in folders is not the user's business
  waiting.push(...files.filter(([, name]) => !name.split("/").some((part) => part.startsWith(".") || part === "Thumbs.db" || part === "desktop.ini")));
  while (sending < atOnce && waiting.length) send();
  receiving();
}

async function send() {
  const [file, name] = waiting.shift();
  sending += 1;
  for (;;) {
    const answer = await ask("POST", "/photos", file, { "X-Name": encodeURIComponent(name) });
    if (answer.status === 429) {
      await new Promise((done) => setTimeout(done, 500));
      continue;
    }
    if (answer.faults.length) notTaken(name, answer.faults);
    else local.set(answer.id, URL.createObjectURL(file));
    break;
  }
  sending -= 1;
  sent += 1;
  if (waiting.length) send();
  else if (!sending) {
    sent = 0;
    settle();
  }
  receiving();
}

function receiving() {
  const n = sent + sending + waiting.length;
  find("#receiving").textContent = sending ? say("receiving", { done: sent, n }) : "";
  find("#go").disabled = Boolean(sending);
}

function notTaken(name, faults) {
  const told = faults.join(" ");
  find("#not-taken ul").append(make("li", { text: told.includes(name.split("/").pop()) ? told : `${name}: ${told}` }));
  find("#not-taken").hidden = false;
}

// ask for a preview and the time when nothing more is coming
let settling = 0;
function settle() {
  clearTimeout(settling);
  settling = setTimeout(async () => {
    if (sending || !state.photos.length || current("protect")) return;
    if (!state.jobs.preview) await begin({ kind: "preview", strength: chosen("strength"), photo: previewed });
    if (!state.jobs.estimate) await begin({ kind: "estimate", strength: chosen("strength") });
  }, 400);
}

let previewed = null; // id of the photo in the preview
async function preview(id) {
  previewed = id;
  if (state.photos.length && !sending) await begin({ kind: "preview", strength: chosen("strength"), photo: id });
}

const choose = (input) => { input.value = ""; input.click(); };
find("#choose").addEventListener("click", () => choose(find("#files")));
find("#choose-folder").addEventListener("click", () => choose(find("#folder")));
for (const input of all("#files, #folder")) {
  input.addEventListener("change", () => take([...input.files].map((file) => [file, file.webkitRelativePath || file.name])));
}
// a photo that misses the zone is meant for it, and must not replace the page
addEventListener("dragover", (event) => {
  event.preventDefault();
  find("#drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) find("#drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  find("#drop").classList.remove("over");
  if (!current("protect")) dropped(event.dataTransfer.items);
});

// ---- what the user asks for

const current = (kind) => {
  const job = state.jobs[kind];
  return job && ["waiting", "running", "done"].includes(job.state) ? job : null;
};

find("#settings").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await begin({
    kind: "protect",
    choice: chosen("choice"),
    strength: chosen("strength"),
    format: chosen("format"),
    places: find("[name=places]").checked,
  });
  refuse(find("#refused"), answer.faults);
});
for (const input of all("[name=strength]")) input.addEventListener("change", () => preview(previewed));

function refuse(place, faults) {
  place.textContent = faults.join(" ");
  place.hidden = !faults.length;
}

const stop = () => state.jobs.protect && ask("DELETE", `/jobs/${state.jobs.protect.id}`);
find("#stop").addEventListener("click", stop);
find("#again").addEventListener("click", async () => {
  await stop();
  settle();
});

async function startOver() {
  ended = true;
  await ask("POST", "/forget");
  location.reload();
}
for (const button of all("#start-over, #anew")) button.addEventListener("click", startOver);

find("#save").addEventListener("submit", async (event) => {
  event.preventDefault();
  const status = find("#save [role=status]");
  const body = JSON.stringify({ folder: find("#save-folder").value });
  const answer = await ask("POST", `/jobs/${state.jobs.protect.id}/save`, body, { "Content-Type": "application/json" });
  status.classList.toggle("fault", answer.faults.length > 0);
  status.textContent = answer.faults.join(" ") || say("saved", { n: number("photo", answer.count), folder: answer.folder });
});

find("#try-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const picked = find("[name=try-photo]:checked");
  const photo = Number(picked ? picked.value : 0);
  const answer = await begin({ kind: "edit", number: photo, prompt: find("#try-prompt").value });
  refuse(find("#try-form .fault"), answer.faults);
  const known = current("left");
  if (!answer.faults.length && !(known && known.state === "done" && known.answer.number === photo)) {
    await begin({ kind: "left", number: photo });
  }
});

find("#audit-go").addEventListener("click", () => begin({ kind: "audit" }));
find("#audit-stop").addEventListener("click", () => ask("DELETE", `/jobs/${state.jobs.audit.id}`));

// ---- showing the state

function show(now) {
  const before = state;
  state = now;
  const job = current("protect");
  const phase = !job ? "choosing" : job.state === "done" ? "results" : "working";
  const changed = document.body.dataset.phase !== phase;
  document.body.dataset.phase = phase;
  for (const id of ["choosing", "working", "results"]) find(`#${id}`).hidden = id !== phase;
  find("#intro").hidden = phase !== "choosing";
  showPhotos();
  showSettings(before);
  if (phase === "working") showWorking(job);
  else until = null;
  if (phase === "results" && find("#results").dataset.job !== job.id) showResults(job);
  showTry(phase === "results" ? job : null);
  if (changed && phase !== "choosing") {
    find(`#${phase} h1`).focus({ preventScroll: true });
    scrollTo({ top: 0 });
  }
}

function showPhotos() {
  const n = state.photos.length;
  find("#chosen").hidden = !n;
  document.body.classList.toggle("has-photos", n > 0);
  find("#choose").textContent = n ? texts.add : texts.choose;
  find("#count").textContent = n ? number("photo", n) : texts.photos;
  find("#go").textContent = number("go", n);
  const list = find("#photos");
  const there = new Map(all("li", list).map((item) => [item.dataset.id, item]));
  const ids = new Set(state.photos.map((photo) => photo.id));
  for (const [id, item] of there) {
    if (ids.has(id)) continue;
    item.remove();
    URL.revokeObjectURL(local.get(id));
    local.delete(id);
  }
  for (const photo of state.photos) if (!there.has(photo.id)) list.append(thumbnail(photo));
  if (!ids.has(previewed)) previewed = n ? state.photos[0].id : null;
  for (const item of all("li", list)) find("button", item).setAttribute("aria-pressed", item.dataset.id === previewed);
}

function thumbnail(photo) {
  const picture = make("img", { src: local.get(photo.id) || `/photos/${photo.id}`, alt: "", loading: "lazy" });
  picture.addEventListener("error", () => picture.classList.add("unshown"));
  const item = make("li", { "data-id": photo.id },
    make("button", { type: "button", class: "thumb", title: photo.name, "aria-label": `${texts.preview}: ${photo.name}`, onclick: () => preview(photo.id) }, picture),
    make("span", { class: "name", text: photo.name }),
    make("button", { type: "button", class: "remove", "aria-label": say("remove", { name: photo.name }), text: "×",
      onclick: async () => { await ask("DELETE", `/photos/${photo.id}`); settle(); } }));
  return item;
}

function showSettings(before) {
  const { estimate, preview: job } = state.jobs;
  const found = estimate ? { ...estimate.progress, ...(estimate.answer || {}) } : {};
  for (const name of ["quick", "strongest"]) {
    const asking = estimate && ["waiting", "running"].includes(estimate.state);
    find(`#time-${name}`).textContent = found[name] ? say("takes", { time: inWords(found[name]) }) : asking ? texts.asking_time : "";
  }
  const failed = state.jobs.protect && state.jobs.protect.state === "failed" ? state.jobs.protect : null;
  const earlier = before.jobs.protect && before.jobs.protect.id;
  if (failed && find("#refused").dataset.job !== failed.id) {
    find("#refused").dataset.job = failed.id;
    refuse(find("#refused"), failed.faults);
  } else if (!failed && earlier) refuse(find("#refused"), []);
  showPreview(job);
}

function showPreview(job) {
  const panel = find("#preview"), status = find("[role=status]", panel), here = find(".here", panel);
  panel.hidden = !job;
  if (!job || panel.dataset.shown === job.id + job.state) return;
  panel.dataset.shown = job.id + job.state;
  panel.classList.toggle("busy", ["waiting", "running"].includes(job.state));
  if (job.state === "done") {
    const { width, height, word } = job.answer;
    here.replaceChildren(comparison({ ...job.pairs[0], name: job.name, width, height }));
    status.textContent = say("preview_about", { name: job.name, word: texts[`word_${word.replaceAll(" ", "_")}`] });
  } else if (job.state === "failed") {
    here.replaceChildren();
    status.textContent = job.faults.join(" ");
  } else status.textContent = say("preview_waits", { name: job.name });
}

function showWorking(job) {
  const bar = find("#working progress"), { share, words, left } = job.progress;
  if (share) bar.value = share;
  else bar.removeAttribute("value");
  find("#how-far").textContent = job.ahead ? say("waits", { n: job.ahead }) : told(words);
  until = left === null || left === undefined ? null : Date.now() + 1000 * left;
  showTime();
}

// loops that come before the one that counts are of no interest by themselves
function told(words) {
  return /^(step|photo|attacker)/.test(words || "") ? words : [texts.starting, words].filter(Boolean).join(" ");
}

function showTime() {
  find("#time-left").textContent = until === null ? "" : say("time_left", { time: inWords((until - Date.now()) / 1000) });
}
setInterval(showTime, 5000);

function inWords(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 45) return texts.less_than_a_minute;
  if (minutes <= 1) return texts.about_a_minute;
  return minutes < 100 ? say("about_minutes", { n: minutes }) : say("about_hours", { n: Math.round(minutes / 60) });
}

function showResults(job) {
  const { head, notes, reach } = job.answer;
  find("#results").dataset.job = job.id;
  find("#download").href = `/jobs/${job.id}/zip`;
  find("#words").replaceChildren(...[head, reach, ...notes].map((text) => make("p", { text })));
  find("#pairs").replaceChildren(...job.pairs.map(comparison));
  find("#save [role=status]").textContent = "";
}

// what compare.js expects: a pair of pictures, a slider and two loupes
function comparison({ name, width, height, before, after, caption }) {
  const picture = (kind, src, alt) => make("img", { class: kind, src, alt: say(alt, { name }), width, height, loading: "lazy" });
  const pair = make("div", { class: "pair", tabindex: 0, role: "group", "aria-label": say("pair", { name }) },
    picture("before", before, "original_of"), picture("after", after, "protected_of"));
  const slider = make("label", {}, texts.before,
    make("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": say("slider", { name }) }), texts.after);
  const widest = `min(100%, ${width}px, calc(75vh * ${width} / ${height}))`;
  pair.style.aspectRatio = `${width} / ${height}`;
  pair.style.maxWidth = slider.style.maxWidth = widest;
  const loupe = (when) => make("div", {}, make("div", { class: "loupe" }), `${texts[when]}, ${texts.at_full}`);
  const figure = make("figure", {}, pair, slider,
    make("p", { class: "missing", hidden: true, text: texts.hidden_picture }),
    make("div", { class: "loupes", hidden: true, "aria-hidden": "true" }, loupe("before"), loupe("after")));
  if (caption) {
    figure.prepend(make("h3", { text: name }));
    figure.append(make("figcaption", { text: caption }));
  }
  compare(figure);
  return figure;
}

function showTry(protectedJob) {
  const form = find("#try-form"), job = state.jobs.edit;
  showLeft(protectedJob && state.jobs.left);
  showAudit(protectedJob);
  find("#try-empty").hidden = Boolean(protectedJob);
  form.hidden = !protectedJob;
  if (protectedJob && form.dataset.job !== protectedJob.id) {
    form.dataset.job = protectedJob.id;
    find("#try-photos").replaceChildren(...protectedJob.pairs.map(({ name, after }, i) =>
      make("label", {}, make("input", { type: "radio", name: "try-photo", value: i, checked: i === 0 }),
        make("img", { src: after, alt: name, loading: "lazy" }))));
  }
  const busy = Boolean(job && protectedJob && ["waiting", "running"].includes(job.state));
  find("#try-working").hidden = !busy;
  if (busy) {
    const bar = find("#try-working progress");
    if (job.progress.share) bar.value = job.progress.share;
    else bar.removeAttribute("value");
  }
  find("#try-form button").disabled = busy;
  if (job && job.state === "failed") refuse(find("#try-form .fault"), job.faults);
  const result = find("#try-result");
  result.hidden = !(job && protectedJob && job.state === "done");
  if (result.hidden || result.dataset.job === job.id) return;
  result.dataset.job = job.id;
  find("p", result).textContent = say("try_result", job.answer);
  const cell = (src, title, label) => make("figure", {},
    make("img", { src, alt: `${title}, ${label}`, width: job.answer.side, height: job.answer.side }),
    make("figcaption", { text: title }));
  const group = (label, before, after) => make("div", {}, make("h3", { text: label }),
    cell(before, texts.try_original, label), cell(after, texts.try_protected, label));
  const { before, after } = protectedJob.pairs[job.answer.number] || {};
  find(".grid", result).replaceChildren(group(texts.try_unedited, before, after),
    ...job.pairs.map((pair) => group(say("try_strength", { n: Math.round(100 * pair.strength) }), pair.before, pair.after)));
}

function showLeft(job) {
  const panel = find("#left"), table = find(".wide", panel), bar = find("progress", panel);
  panel.hidden = !job;
  if (!job) return;
  const busy = ["waiting", "running"].includes(job.state);
  bar.hidden = !busy;
  if (job.progress.share) bar.value = job.progress.share;
  else bar.removeAttribute("value");
  const { head, lines = [], notes = [] } = job.answer || {};
  find("[role=status]", panel).textContent = busy ? texts.left_working : head || job.faults.join(" ");
  table.hidden = !lines.length;
  if (panel.dataset.shown === job.id + job.state) return;
  panel.dataset.shown = job.id + job.state;
  find(".notes", panel).replaceChildren(...notes.map((text) => make("p", { text })));
  find("tbody", table).replaceChildren(...lines.map((line, i) => make("tr", {},
    ...(i && lines[i - 1].after === line.after ? [] : [make("th", { scope: "rowgroup", rowspan: lines.filter(({ after }) => after === line.after).length, text: line.after })]),
    ...[line.encoder, line.protected.toFixed(3), line.noise.toFixed(3), line.times_noise.toFixed(1), `${Math.round(100 * line.left)} %`].map((text) => make("td", { text })))));
}

function showAudit(protectedJob) {
  const panel = find("#audit"), job = protectedJob && state.jobs.audit, bar = find("progress", panel);
  panel.hidden = !protectedJob;
  const busy = Boolean(job && ["waiting", "running"].includes(job.state));
  bar.hidden = find("#audit-stop").hidden = !busy;
  find("#audit-go").hidden = busy || Boolean(job && job.state === "done");
  if (busy && job.progress.share) bar.value = job.progress.share;
  else bar.removeAttribute("value");
  const { said, words } = job ? job.progress : {};
  find("[role=status]", panel).textContent = !job ? "" : busy ? (job.ahead ? say("waits", { n: job.ahead }) : [said, told(words)].filter(Boolean).join(" ")) : job.faults.join(" ");
  const shown = job ? job.id + job.state : "";
  if (panel.dataset.shown === shown) return;
  panel.dataset.shown = shown;
  const { verdicts = [], notes = [] } = (job && job.answer) || {};
  find(".notes", panel).replaceChildren(...[...verdicts, ...notes].map((text) => make("p", { text })));
  find(".sheets", panel).replaceChildren(...((job && job.pairs) || []).map(({ name, after }) => make("img", { src: after, alt: say("audit_sheet", { name }), loading: "lazy" })));
}

// ---- tabs

const tabs = all("[role=tab]");
function open(tab) {
  for (const other of tabs) {
    const shown = other === tab;
    other.setAttribute("aria-selected", shown);
    other.tabIndex = shown ? 0 : -1;
    find(`#${other.getAttribute("aria-controls")}`).hidden = !shown;
  }
}
for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    open(next);
    next.focus();
  });
}

// ---- being told

function gone(text) {
  if (ended) return;
  find("#gone span").textContent = text;
  find("#gone").hidden = false;
}

const events = new EventSource("/events");
events.addEventListener("message", (event) => {
  find("#gone").hidden = true;
  show(JSON.parse(event.data));
});
events.addEventListener("ended", () => {
  events.close();
  gone(texts.ended);
});
let silent = 0;
events.addEventListener("error", () => {
  clearTimeout(silent);
  // it connects again by itself; a short pause is nothing to speak of
  silent = setTimeout(() => events.readyState !== EventSource.OPEN && gone(texts.lost), 3000);
});
addEventListener("beforeunload", (event) => {
  const job = current("protect");
  if (job && job.state !== "done" && !ended) event.preventDefault();
});
receiving();
