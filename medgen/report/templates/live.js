// The page of a run in training: asks who serves it for a newer one, and changes what is new in it. New volumes need
// the whole page again: then it waits for the hands of the reader to rest, and the viewer keeps what was chosen.
"use strict";
{
  const REST = 3000; // ms without a hand on the page after which it may be loaded again
  const every = 1000 * Number(document.documentElement.dataset.every);
  const parts = (page) => [...page.querySelectorAll("main > :not(#viewer-section)")];
  const held = (page) => [...page.querySelectorAll("script[type^='application/']")];
  const pause = (time) => new Promise((done) => setTimeout(done, time));
  let shown = parts(document).map((part) => part.outerHTML); // as it came, before anybody sorts a table
  let tag = "";
  let touched = -REST;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
    document.addEventListener(kind, () => (touched = performance.now()), { capture: true, passive: true });
  }

  // Whether all that differs are parts of the page that no script has touched.
  function fits(next, news) {
    const [ours, theirs] = [held(document), held(next)];
    const same = theirs.length === ours.length && theirs.every((each, i) => each.textContent === ours[i].textContent);
    return same && parts(next).length === shown.length && !news.some((part) => part.querySelector(".sortable"));
  }

  async function again() {
    while (performance.now() - touched < REST) await pause(REST / 3);
    document.dispatchEvent(new Event("medgen-again")); // the viewer keeps its state
    location.reload();
  }

  async function change(next) {
    const texts = parts(next).map((part) => part.outerHTML);
    const places = texts.flatMap((text, i) => (text === shown[i] ? [] : [i]));
    if (!fits(next, places.map((i) => parts(next)[i]))) return again();
    const made = places.map((i) => document.importNode(parts(next)[i], true));
    const pictures = made.flatMap((part) => [...part.querySelectorAll("img")]);
    await Promise.allSettled(pictures.map((picture) => picture.decode())); // without a size the page would jump
    const now = parts(document);
    places.forEach((place, i) => now[place].replaceWith(made[i]));
    shown = texts;
  }

  async function look() {
    const answer = await fetch("/", { headers: tag ? { "if-none-match": tag } : {}, cache: "no-store" });
    if (!answer.ok) return true; // 304: there is none
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    await change(next);
    tag = answer.headers.get("etag") ?? "";
    return "every" in next.documentElement.dataset; // not once the training has ended
  }

  (async () => {
    do await pause(every);
    while (await look().catch(() => true)); // nobody answers: the watch has ended, and may begin again
  })();
}
