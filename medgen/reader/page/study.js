// The page of a reader study. It holds no answer: the server keeps each one before the next case appears.
"use strict";

const WORDS = {
  "real-or-synthetic": {
    title: "Real or synthetic?",
    explained: "You will see one image at a time. It is of a patient, or it was made by a computer. Which of the two?",
    question: "Real or synthetic?",
    answers: [["Real", "R"], ["Synthetic", "S"]],
    keys: { r: 0, 1: 0, s: 1, 2: 1 },
  },
  "pick-real": {
    title: "Which one is real?",
    explained: "You will see two images at a time. One is of a patient, the other was made by a computer. Which one is real?",
    question: "Which one is real?",
    answers: [["1 is real", "1"], ["2 is real", "2"]],
    keys: { 1: 0, ArrowLeft: 0, 2: 1, ArrowRight: 1 },
  },
};
const GUARD_MS = 250; // a key pressed twice is no answer to the next case
const PARALLEL = 4;

const at = (id) => document.getElementById(id);
let view = null; // what the server said last
let seen = null; // the case on the screen

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer, so nothing was saved now. Earlier answers are safe. Start it again, then open its newest link.");
  }
  const content = await response.json();
  if (!response.ok) throw new Error([content.error, content.do].filter(Boolean).join(": "));
  return content;
}

function say(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

function show(next) {
  view = next;
  const words = WORDS[view.task];
  for (const name of ["welcome", "case", "end"]) at(name).hidden = true;
  document.querySelector("[data-title]").textContent = words.title;
  document.querySelector("[data-question]").textContent = words.explained;
  seen = null;
  if (view.reader === null) {
    at("welcome").hidden = false;
    at("code").focus();
  } else if (view.result) {
    showResult(view.result);
  } else {
    showCase(words);
  }
}

function showResult(result) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  at("result").textContent =
    `You were right in ${result.correct} of ${result.cases} cases: ${percent(result.share)} ` +
    `(95 % interval ${percent(result.ci95[0])} to ${percent(result.ci95[1])}). Guessing gives 50 %.`;
  at("twice").textContent = result.repeats
    ? `${result.repeats} cases came twice; you answered ${result.same} of them alike. A case took ${result.seconds.toFixed(1)} s (median).`
    : `A case took ${result.seconds.toFixed(1)} s (median).`;
  at("end").hidden = false;
}

// One case

function showCase(words) {
  at("case").hidden = false;
  at("question").textContent = words.question;
  at("reader").textContent = view.reader;
  at("progress").textContent = `${view.done + 1} of ${view.total}`;
  at("bar").firstElementChild.style.width = `${(100 * view.done) / view.total}%`;
  document.querySelectorAll("button.answer").forEach((button, place) => {
    button.replaceChildren(`${words.answers[place][0]} `, element("kbd", words.answers[place][1]));
    button.disabled = true;
  });
  const volume = view.planes[0].slices > 1;
  at("views").hidden = !volume;
  at("hints").textContent = volume ? "↑ ↓ slices · P plane · wheel or drag over the image also moves through the slices" : "";
  at("hints").hidden = !volume;
  seen = { position: view.position, plane: 0, slices: view.planes.map((plane) => Math.floor(plane.slices / 2)), cache: new Map(),
    ready: null, hidden: 0, hiddenSince: null, sent: false };
  at("planes").replaceChildren(...view.planes.map((plane, number) => planeButton(plane, number)));
  at("stage").replaceChildren(...view.pictures.map((id, place) => figure(place)));
  look();
  begin(seen);
}

async function begin(mine) {
  try {
    await Promise.all(view.pictures.map((id) => picture(mine, id, 0, mine.slices[0])));
  } catch {
    if (seen === mine) say("An image could not be loaded. Load the page again.");
    return;
  }
  if (seen !== mine) return;
  draw();
  mine.ready = performance.now();
  mine.hiddenSince = document.hidden ? mine.ready : null;
  setTimeout(() => {
    if (seen === mine && !mine.sent) document.querySelectorAll("button.answer").forEach((button) => (button.disabled = false));
  }, GUARD_MS);
  preload(mine, 0);
}

function element(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function figure(place) {
  const made = document.createElement("figure");
  made.append(document.createElement("canvas"), element("span", "", "left"), element("span", "", "right"));
  if (view.pictures.length > 1) made.append(element("span", String(place + 1), "name"));
  let from = null;
  made.addEventListener("pointerdown", (event) => { from = event.clientY; made.setPointerCapture(event.pointerId); });
  made.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const step = Math.max(4, made.clientHeight / view.planes[seen.plane].slices);
    const steps = Math.trunc((from - event.clientY) / step);
    if (steps) { move(steps); from -= steps * step; }
  });
  for (const end of ["pointerup", "pointercancel"]) made.addEventListener(end, () => (from = null));
  made.addEventListener("wheel", (event) => { event.preventDefault(); move(event.deltaY < 0 ? 1 : -1); }, { passive: false });
  return made;
}

function planeButton(plane, number) {
  const made = element("button", plane.name);
  made.addEventListener("click", () => { turn(number); made.blur(); });
  return made;
}

function picture(mine, id, plane, number) {
  const key = `${id}/${plane}/${number}`;
  if (!mine.cache.has(key)) {
    const image = new Image();
    image.src = `/picture/${key}`;
    mine.cache.set(key, image.decode().then(() => image, (error) => { mine.cache.delete(key); throw error; }));
  }
  return mine.cache.get(key);
}

async function preload(mine, plane) { // from the middle outwards, so that moving through the slices does not wait
  const middle = mine.slices[plane];
  const order = [...Array(view.planes[plane].slices).keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
  const wanted = order.flatMap((number) => view.pictures.map((id) => [id, number]));
  const work = async () => {
    while (wanted.length && seen === mine && mine.plane === plane) {
      const [id, number] = wanted.shift();
      await picture(mine, id, plane, number).catch(() => {});
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
}

function draw() {
  const mine = seen, plane = view.planes[mine.plane], number = mine.slices[mine.plane], which = mine.plane;
  view.pictures.forEach((id, place) => {
    picture(mine, id, which, number).then((image) => {
      if (seen !== mine || mine.plane !== which || mine.slices[which] !== number) return;
      const canvas = at("stage").children[place].querySelector("canvas");
      canvas.width = plane.width;
      canvas.height = plane.height;
      canvas.getContext("2d").drawImage(image, 0, 0);
    }, () => say("An image could not be loaded. Load the page again."));
  });
}

function look() { // what depends on plane and slice, and the sizes
  const plane = view.planes[seen.plane], number = seen.slices[seen.plane];
  [...at("planes").children].forEach((button, place) => button.setAttribute("aria-pressed", String(place === seen.plane)));
  at("slice").max = plane.slices - 1;
  at("slice").value = number;
  at("number").textContent = `${number + 1} / ${plane.slices}`;
  document.querySelectorAll("figure .left").forEach((each) => (each.textContent = plane.edges[0]));
  document.querySelectorAll("figure .right").forEach((each) => (each.textContent = plane.edges[1]));
  fit(plane);
}

function fit(plane) { // the layout that shows the pictures larger: side by side, or one below the other
  const stage = at("stage"), count = view.pictures.length, gap = 12 * (count - 1);
  const wide = stage.clientWidth - 20, high = stage.clientHeight - 20, ratio = plane.width / (plane.height * plane.aspect);
  const beside = Math.min((wide - gap) / count, high * ratio), below = Math.min(wide, ((high - gap) / count) * ratio);
  stage.classList.toggle("stacked", below > beside);
  const width = Math.max(beside, below);
  for (const each of stage.children) {
    each.style.width = `${width}px`;
    each.style.height = `${width / ratio}px`;
  }
}

function move(steps) {
  if (!seen) return;
  const last = view.planes[seen.plane].slices - 1;
  seen.slices[seen.plane] = Math.min(last, Math.max(0, seen.slices[seen.plane] + steps));
  look();
  draw();
}

function turn(number) {
  if (!seen) return;
  seen.plane = number;
  look();
  draw();
  preload(seen, number);
}

async function answer(choice) {
  const mine = seen;
  if (!mine || mine.sent || mine.ready === null || performance.now() - mine.ready < GUARD_MS) return;
  mine.sent = true;
  document.querySelectorAll("button.answer").forEach((button) => (button.disabled = true));
  const seconds = Math.max(0, (performance.now() - mine.ready - mine.hidden) / 1000);
  try {
    const next = await ask("/answer", { reader: view.reader, position: mine.position, answer: view.choices[choice], seconds });
    say(next.kept ? "" : "This case had an answer already, perhaps from another tab; that one counts.");
    show(next);
  } catch (error) {
    say(error.message);
    mine.sent = false;
    document.querySelectorAll("button.answer").forEach((button) => (button.disabled = false));
  }
}

async function enter(code) {
  try {
    const next = await ask("/reader", { reader: code });
    say("");
    show(next);
  } catch (error) {
    say(error.message);
  }
}

document.addEventListener("visibilitychange", () => {
  if (!seen || seen.ready === null) return;
  if (document.hidden) seen.hiddenSince = performance.now();
  else if (seen.hiddenSince !== null) { seen.hidden += performance.now() - seen.hiddenSince; seen.hiddenSince = null; }
});

document.addEventListener("keydown", (event) => {
  if (!seen || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[key];
  const choice = WORDS[view.task].keys[key];
  if (steps) move(steps);
  else if (key === "p" && !event.repeat) turn((seen.plane + 1) % view.planes.length);
  else if (choice !== undefined && !event.repeat) answer(choice);
  else return;
  event.preventDefault();
});

document.querySelectorAll("button.answer").forEach((button) =>
  button.addEventListener("click", () => { button.blur(); answer(Number(button.dataset.choice)); }));
at("slice").addEventListener("input", () => move(Number(at("slice").value) - seen.slices[seen.plane]));
at("slice").addEventListener("change", () => at("slice").blur()); // else the next arrow key would be its own
at("begin").addEventListener("submit", (event) => { event.preventDefault(); enter(at("code").value); });
at("leave").addEventListener("click", () => enter(null));
at("next").addEventListener("click", () => { at("code").value = ""; enter(null); });
window.addEventListener("resize", () => { if (seen) look(); });

ask("/state").then(show, (error) => say(error.message));
