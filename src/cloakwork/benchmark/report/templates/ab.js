"use strict";
const study = JSON.parse(document.getElementById("study").textContent);
const $ = (id) => document.getElementById(id);
const kept = "cloakwork-ab-" + study.page;
const questions = {
  seen: "Which of the two photos has been changed?",
  likeness: "Which of the two pictures looks more like the subject?",
};
let shownAt = 0;
let state = load();

function load() {
  try {
    const found = JSON.parse(localStorage.getItem(kept));
    if (found && Array.isArray(found.answers)) return found;
  } catch {} // nothing kept, or a browser that keeps nothing
  const id = [...crypto.getRandomValues(new Uint8Array(6))].map((b) => b.toString(16).padStart(2, "0")).join("");
  return { participant: id, answers: [] };
}

function save() {
  try { localStorage.setItem(kept, JSON.stringify(state)); } catch {}
}

function show(part) {
  for (const id of ["start", "question", "end"]) $(id).hidden = id !== part;
}

function ask() {
  const i = state.answers.length;
  if (i >= study.pairs.length) return finish();
  const pair = study.pairs[i];
  show("question");
  $("title").textContent = questions[pair.task];
  $("progress").value = i;
  $("count").textContent = `Pair ${i + 1} of ${study.pairs.length}`;
  $("reference").hidden = !pair.reference;
  $("reference-picture").src = pair.reference || "data:,";
  Promise.all([showPicture($("one"), pair.left), showPicture($("two"), pair.right)]).then(() => { shownAt = performance.now(); });
}

function showPicture(image, uri) {
  return new Promise((done) => {
    image.onload = image.onerror = done;
    image.src = uri;
  });
}

function answer(side) {
  if ($("question").hidden || !shownAt) return;
  state.answers.push({ side, seconds: Math.round(performance.now() - shownAt) / 1000 });
  shownAt = 0;
  save();
  ask();
}

// The key is read here, when there is nothing left to answer.
function results() {
  const mask = study.mask.match(/../g).map((h) => parseInt(h, 16));
  const bytes = Uint8Array.from(atob(study.key), (c, i) => c.charCodeAt(0) ^ mask[i % mask.length]);
  const key = JSON.parse(new TextDecoder().decode(bytes));
  return state.answers.map((a, i) => ({
    pair: String(i + 1), task: study.pairs[i].task, protection: key[i][1], right: a.side === key[i][0], side: a.side, seconds: a.seconds,
  }));
}

function finish() {
  show("end");
  $("progress").value = study.pairs.length;
  const body = $("results").tBodies[0];
  body.replaceChildren();
  const found = new Map();
  for (const a of results()) {
    const name = JSON.stringify([a.task, a.protection]);
    const [right, n] = found.get(name) ?? [0, 0];
    found.set(name, [right + a.right, n + 1]);
  }
  for (const [name, [right, n]] of [...found].sort()) {
    const [task, protection] = JSON.parse(name);
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = protection;
    row.append(head);
    for (const text of [task === "seen" ? "found the changed photo" : "preferred the result from clean photos", `${right} of ${n}`]) row.insertCell().textContent = text;
  }
  $("end-title").focus();
}

function download() {
  const said = { format: study.format, page: study.page, seed: study.seed, participant: state.participant, answers: results() };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(said, null, 1)], { type: "application/json" }));
  link.download = `answers-${study.page}-${state.participant}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}

$("begin").addEventListener("click", ask);
$("left").addEventListener("click", () => answer("left"));
$("right").addEventListener("click", () => answer("right"));
$("download").addEventListener("click", download);
$("again").addEventListener("click", () => {
  if (!confirm("Throw all answers away and begin anew?")) return;
  try { localStorage.removeItem(kept); } catch {}
  state = load();
  ask();
});
addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "1") answer("left");
  if (event.key === "2") answer("right");
});
if (study.pairs.length) {
  $("progress").max = study.pairs.length;
  if (state.answers.length) {
    $("begin").textContent = "Go on";
    $("resumed").hidden = false;
  }
  show("start");
}
