// All texts of models and data sets reach the page through textContent, never as markup.
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const panel = document.getElementById("detail");
let chosen = null;

function el(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function open(source, title, parts) {
  if (chosen) chosen.classList.remove("chosen");
  chosen = source;
  if (chosen) chosen.classList.add("chosen");
  const close = el("button", "close", "×");
  close.setAttribute("aria-label", "close");
  close.addEventListener("click", shut);
  panel.replaceChildren(close, el("h4", "", title), ...parts);
  panel.hidden = false;
  document.body.classList.add("reading");
  panel.scrollTop = 0;
}

function shut() {
  panel.hidden = true;
  document.body.classList.remove("reading");
  if (chosen) chosen.classList.remove("chosen");
  chosen = null;
}

// A dash for what was not measured, or could not be scored.
function figure(value) {
  return value === undefined || value === null ? "–" : String(value);
}

function percent(share) {
  return (100 * share).toFixed(0) + " %";
}

// --- templates ---

// Words of a and b as [operation, text], by their longest common subsequence.
function wordDifference(a, b) {
  const words = (text) => text.match(/\s*\S+\s*/g) || [];
  const left = words(a), right = words(b), same = (i, j) => left[i].trim() === right[j].trim();
  const n = left.length, m = right.length;
  if (n * m > 4e6) return [["del", a], ["ins", b]];
  const common = Array.from({ length: n + 1 }, () => new Uint16Array(m + 1));
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--)
      common[i][j] = same(i, j) ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const out = [];
  const push = (operation, text) => {
    const last = out[out.length - 1];
    if (last && last[0] === operation) last[1] += text; else out.push([operation, text]);
  };
  let i = 0, j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && same(i, j)) { push("span", right[j++]); i++; }
    else if (j >= m || (i < n && common[i + 1][j] >= common[i][j + 1])) push("del", left[i++]);
    else push("ins", right[j++]);
  }
  return out;
}

function candidateOf(run, evolution, id) {
  const data = DATA.runs[run], text = (n) => (n === null ? "" : data.texts[n]);
  const c = Object.fromEntries(data.evolutions[evolution][id].map((value, n) => [data.candidate[n], value]));
  return { ...c, id, template: text(c.template), reason: text(c.reason), minibatch: c.minibatch.map(text) };
}

function showCandidate(source) {
  const { run, evolution } = source.closest("svg").dataset;
  const c = candidateOf(run, evolution, source.dataset.candidate);
  const parts = [el("p", "meta", `iteration ${c.iteration} · ${c.fate.replaceAll("_", " ")}` + (c.reason ? `: ${c.reason}` : ""))];
  if (c.dev_mean !== null) parts.push(el("p", "meta", `mean dev score ${percent(c.dev_mean)}`));
  parts.push(el("h5", "", "Template"), el("div", "box", c.template || "(the bare prompt)"));
  if (c.parent !== null) {
    const parent = candidateOf(run, evolution, c.parent);
    const box = el("div", "box diff");
    for (const [operation, text] of wordDifference(parent.template, c.template)) box.append(el(operation, "", text));
    parts.push(el("h5", "", `Difference to its parent, template ${parent.id}`), box);
    const go = el("button", "step", `parent: template ${parent.id}`);
    go.addEventListener("click", () => {
      const there = find(run, evolution, parent.id);
      if (there) { there.scrollIntoView({ block: "nearest", inline: "nearest" }); showCandidate(there); }
    });
    parts.push(el("p", "", ""), go);
  }
  if (c.minibatch.length) {
    parts.push(el("h5", "", "Minibatch: reward under the parent → under this one"));
    c.minibatch.forEach((id, n) => {
      parts.push(el("p", "meta", `${id}: ${figure(c.parent_scores[n])} → ${figure(c.scores[n])}`));
    });
  }
  open(source, `Template ${c.id}`, parts);
}

function find(run, evolution, id) {
  return document.querySelector(`svg[data-run="${run}"][data-evolution="${evolution}"] [data-candidate="${id}"]`);
}

// --- samples ---

// Whether a call failed, by its turn with the result (p2o.core.turns.ERROR).
const hasFailed = ([kind, , text]) => kind === "result" && text.startsWith("{'error':");

// The turns of a rollout with tools: [kind, name, text]; results that need more than a line are folded.
function turn([kind, name, text]) {
  if (kind === "said") return el("div", "box", text || "(empty)");
  if (kind === "call") {
    const call = el("div", "box call");
    call.append(el("b", "", name), document.createTextNode(" " + text));
    return call;
  }
  const label = kind === "result" ? "result of " + name : "environment";
  const className = hasFailed([kind, name, text]) ? "result failed" : "result";
  const first = text.split("\n")[0].slice(0, 60);
  if (first === text) return el("p", className, `${label}: ${text || "(empty)"}`);
  const box = el("details", className);
  box.append(el("summary", "", `${label}: ${first} …`), el("div", "box", text));
  return box;
}

function rollout([template, completion, reward, solved, turns]) {
  const box = el("div", "rollout" + (solved ? " solved" : ""));
  box.append(el("p", "meta", `reward ${reward === null ? "none (not scorable)" : reward} · ${template === null ? "bare" : "under template " + (template + 1)}`));
  if (turns) {
    const calls = turns.filter((t) => t[0] === "call").length, failed = turns.filter(hasFailed).length;
    const count = `${calls} tool call${calls === 1 ? "" : "s"}` + (failed ? `, ${failed} failed` : "");
    box.append(el("p", "meta", count), ...turns.map(turn));
  }
  else box.append(el("div", "box", completion || "(empty)"));
  return box;
}

function showSample(run, number, place, source) {
  const data = DATA.runs[run];
  const row = data.rows[number];
  const parts = [];
  data.epochs.forEach((epoch, n) => {
    const step = el("button", "step", "");
    step.append(el("i", "cell " + row[n + 1], ""), document.createTextNode(epoch));
    step.setAttribute("aria-pressed", n === place);
    step.addEventListener("click", () => showSample(run, number, n, cellOf(run, number, n)));
    parts.push(step);
  });
  const tally = data.tallies[number][place];
  const label = row[place + 1] ? DATA.states[row[place + 1]] : ["not drawn", "the sample was not drawn in this epoch"];
  parts.push(el("p", "meta", `epoch ${data.epochs[place]} · ${label[0]}: ${label[1]}`));
  if (tally) {
    const counts = [`bare ${tally[1]} of ${tally[0]} solved`];
    if (tally[2]) counts.push(`templated ${tally[3]} of ${tally[2]} solved`);
    parts.push(el("p", "meta", counts.join(" · ")));
  }
  const sample = data.samples[number];
  if (sample) {
    parts.push(el("h5", "", "Prompt"), el("div", "box", sample.prompt));
    if (sample.answer !== null) parts.push(el("p", "meta", `answer: ${sample.answer}`));
    const rollouts = sample.rollouts[place];
    if (rollouts) {
      for (const t of [...new Set(rollouts.map((r) => r[0]))].filter((t) => t !== null))
        parts.push(el("h5", "", `Template ${t + 1}`), el("div", "box", data.texts[t]));
      parts.push(el("h5", "", "Rollouts"), ...rollouts.map((r) => rollout(r)));
    } else parts.push(el("p", "meta", "The run kept no rollouts of this sample in this epoch."));
  } else parts.push(el("p", "meta", "This page holds no rollouts of this sample; the run's rollouts-*.json may."));
  open(source, row[0], parts);
}

function cellOf(run, number, place) {
  return document.querySelector(`.matrix[data-run="${run}"] [data-row="${number}"][data-place="${place}"]`);
}

function buildMatrix(box, wanted) {
  const run = box.dataset.run, data = DATA.runs[run];
  const columns = `minmax(9.5rem, 2fr) repeat(${data.epochs.length}, minmax(10px, 1fr))`;
  const head = el("div", "row head");
  head.style.gridTemplateColumns = columns;
  head.append(el("span", "id", "sample"), ...data.epochs.map((e) => el("span", "", e)));
  const rows = data.rows.map((r, number) => [number, ...r]).filter((r) => !wanted || r[r.length - 1] === wanted).map(([number, id, ...states]) => {
    const row = el("div", "row");
    row.style.gridTemplateColumns = columns;
    const name = el("span", "id", data.labels[number]);
    name.title = id;
    row.append(name);
    states.forEach((state, n) => {
      const cell = el("button", "cell " + state);
      cell.dataset.row = number;
      cell.dataset.place = n;
      cell.title = `${id}, epoch ${data.epochs[n]}: ${state ? DATA.states[state][0] : "not drawn"}`;
      cell.setAttribute("aria-label", cell.title);
      row.append(cell);
    });
    return row;
  });
  box.replaceChildren(head, ...rows);
}

function buildFilters(box) {
  const data = DATA.runs[box.dataset.run], matrix = document.querySelector(`.matrix[data-run="${box.dataset.run}"]`);
  const last = data.rows.map((r) => r[r.length - 1]);
  const choices = [["", `all ${last.length}`], ...Object.keys(DATA.states).map((s) => [s, `${last.filter((l) => l === s).length} ${DATA.states[s][0]} in the last epoch`])];
  for (const [state, label] of choices) {
    if (state && !last.includes(state)) continue;
    const button = el("button", "", label);
    button.setAttribute("aria-pressed", state === "");
    button.addEventListener("click", () => {
      for (const other of box.children) other.setAttribute("aria-pressed", other === button);
      buildMatrix(matrix, state);
    });
    box.append(button);
  }
}

document.querySelectorAll(".matrix").forEach((box) => {
  buildMatrix(box, "");
  box.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-row]");
    if (cell) showSample(box.dataset.run, Number(cell.dataset.row), Number(cell.dataset.place), cell);
  });
});
document.querySelectorAll(".filters").forEach(buildFilters);

// A chart's places tell their figures; on a phone at a tap.
const tip = document.getElementById("tip");
document.addEventListener("pointerover", (event) => {
  const place = event.target.closest(".tip");
  tip.hidden = !place;
  if (!place) return;
  tip.textContent = place.querySelector("title").textContent;
  tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 10) + "px";
});
document.querySelectorAll("[data-candidate]").forEach((node) => {
  const { run, evolution } = node.closest("svg").dataset, id = node.dataset.candidate;
  node.setAttribute("tabindex", "0");
  node.setAttribute("role", "button");
  if (!node.hasAttribute("aria-label")) node.setAttribute("aria-label", `template ${id}, ${candidateOf(run, evolution, id).fate}`);
  node.addEventListener("click", () => showCandidate(node));
  node.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); showCandidate(node); }
  });
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") shut(); });
