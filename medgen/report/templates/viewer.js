// The viewer of a report: the volumes of the page, drawn by niivue. Nothing is loaded from anywhere else.
"use strict";
{
  const HEADER = 352; // bytes of a NIfTI-1 header
  const TOO_HIGH = { R: [150, 255], G: [0, 214], B: [20, 120], A: [0, 255], I: [0, 255] };
  const TOO_LOW = { R: [20, 140], G: [40, 230], B: [170, 255], A: [0, 255], I: [0, 255] };
  const CONFIDENCE = { R: [255, 255], G: [235, 0], B: [60, 0], A: [0, 255], I: [0, 255] };
  const VIEWS = { "three planes": 3, axial: 0, coronal: 1, sagittal: 2 };
  const STARTS = { image: "synthetic", overlays: ["agreement", "confidence", "reference"] };

  const facts = JSON.parse(document.getElementById("viewer-facts").textContent);
  const part = (name) => document.getElementById(`viewer-${name}`);
  const readable = (value) => String(Number(value.toPrecision(4))).replace("-", "−");
  let viewer = null; // niivue, once it has started
  let starting = null;
  let patient = null; // the one that is shown, with its layers

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function say(text) {
    part("message").textContent = text;
    part("message").hidden = !text;
  }

  async function unpacked(name) {
    const text = atob(document.getElementById(name).textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  async function start() {
    say("The viewer is starting …");
    const code = new TextDecoder().decode(await unpacked("niivue"));
    document.head.append(make("script", { textContent: code }));
    const { Niivue, DRAG_MODE, SHOW_RENDER } = window.niivue;
    viewer = new Niivue({
      logLevel: "warn",
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      crosshairColor: [1, 0.82, 0.4, 0.8],
      crosshairWidth: 0.4,
      crosshairWidthUnit: "percent",
      fontColor: [1, 0.82, 0.4, 1],
      fontMinPx: 20,
      dragAndDropEnabled: false,
      scrollRequiresFocus: true,
      dragMode: DRAG_MODE.windowing,
      loadingText: "",
    });
    viewer.opts.atlasOutline = 1;
    part("body").hidden = false; // a canvas without a size cannot be drawn on
    await viewer.attachToCanvas(part("canvas"));
    viewer.addColormap("too_high", TOO_HIGH);
    viewer.addColormap("too_low", TOO_LOW);
    viewer.addColormap("confidence", CONFIDENCE);
    viewer.onLocationChange = (place) => showValues("At the cross", place.frac ?? viewer.scene.crosshairPos);
    viewer.onIntensityChange = (image) => setWindow([image.cal_min, image.cal_max]);
    listen();
  }

  // Layers: a file of the page, or what is computed from two of them.

  function content(buffer) {
    const header = new DataView(buffer);
    const Values = header.getInt16(70, true) === 2 ? Uint8Array : Int16Array;
    return {
      buffer,
      size: [42, 44, 46].map((offset) => header.getInt16(offset, true)),
      across: header.getInt16(42, true) * header.getFloat32(80, true), // mm
      values: new Values(buffer, HEADER),
      slope: header.getFloat32(112, true),
      intercept: header.getFloat32(116, true),
    };
  }

  function computed(kind, layers) {
    const of = (key) => layers.find((layer) => layer.key === key);
    const [one, other] = kind === "error" ? [of("synthetic"), of("true")] : [of("predicted"), of("reference")];
    const made = content(one.buffer.slice(0));
    new DataView(made.buffer).setFloat32(116, 0, true); // the intercepts of a difference cancel
    made.intercept = 0;
    const mask = of("mask");
    for (let i = 0; i < made.values.length; i++) {
      const [a, b] = [one.values[i], other.values[i]];
      if (kind === "error") made.values[i] = mask && !mask.values[i] ? 0 : a - b;
      else made.values[i] = a === b ? (a ? 1 : 0) : !a ? 2 : !b ? 3 : 4;
    }
    return made;
  }

  function labelColours(classes) {
    const parts = (start) => [0, ...classes.map(([, colour]) => parseInt(colour.slice(start, start + 2), 16))];
    const [R, G, B] = [parts(1), parts(3), parts(5)];
    return { R, G, B, A: R.map((_, i) => (i ? 255 : 0)), I: R.map((_, i) => i), labels: ["", ...classes.map(([n]) => n)] };
  }

  async function drawable(layer) {
    const colours = { image: "gray", error: "too_high", spread: "inferno", confidence: "confidence" };
    const image = await window.niivue.NVImage.loadFromUrl({
      url: layer.buffer,
      name: `${layer.key}.nii`,
      colormap: colours[layer.kind] ?? "gray",
      colormapNegative: layer.kind === "error" ? "too_low" : "",
      opacity: layer.kind === "image" ? 1 : layer.opacity,
      cal_min: layer.window[0],
      cal_max: layer.window[1],
    });
    if (layer.kind === "labels" || layer.kind === "agreement") image.setColormapLabel(labelColours(layer.classes));
    return image;
  }

  async function open(name, kept = { layers: [] }) {
    const number = facts.patients.findIndex((each) => each.name === name);
    await (starting ??= start());
    say("The volumes are being unpacked …");
    const layers = [];
    for (const layer of facts.patients[number].layers) {
      const stored = layer.stored ? content(await unpacked(`volume-${number}-${layer.key}`)) : computed(layer.kind, layers);
      const several = layers.some((each) => each.classes.length > 1);
      const classes = layer.kind === "agreement" ? facts.agreement.slice(0, several ? 4 : 3) : layer.classes;
      layers.push({ ...layer, ...stored, classes, window: [...layer.window], opacity: 0.6, on: false });
    }
    const images = layers.filter((layer) => layer.kind === "image");
    const overlays = layers.filter((layer) => !["image", "mask"].includes(layer.kind));
    for (const layer of overlays) layer.on = STARTS.overlays.includes(layer.key);
    if (overlays.some((layer) => layer.key === "agreement")) overlays.find((layer) => layer.key === "reference").on = false;
    else overlays.filter((layer) => layer.key === "predicted").forEach((layer) => (layer.on = true));
    for (const layer of layers) Object.assign(layer, kept.layers.find((each) => each.key === layer.key));
    for (const layer of layers) layer.image = layer.kind === "mask" ? null : await drawable(layer);
    const shown = [kept.shown, STARTS.image].map((key) => images.find((layer) => layer.key === key)).find(Boolean) ?? images[0];
    patient = { ...facts.patients[number], all: layers, images, overlays, shown };
    viewer.opts.isOrientationTextVisible = patient.oriented;
    viewer.opts.crosshairGap = 0.04 * shown.across;
    part("patient").value = name;
    viewer.scene.crosshairPos = patient.centre;
    compose();
    if (kept.cross) turnTo(kept);
    controls();
    say("");
    part("canvas").dataset.shown = name; // for whoever waits until it is drawn
  }

  // What is kept over a reload of a page of a run in training.

  const KEPT = "medgen-viewer";

  function keep() {
    if (!patient) return;
    const first = facts.patients.find((each) => each.name === patient.name).layers;
    const layers = patient.all.map(({ key, on, opacity, window }) => {
      const moved = String(window) !== String(first.find((each) => each.key === key).window);
      return moved ? { key, on, opacity, window } : { key, on, opacity };
    });
    const cross = [...viewer.frac2mm(viewer.scene.crosshairPos, 0, true)].slice(0, 3); // the cut may be another next time
    const [view, shown, focus] = [part("view").value, patient.shown.key, document.activeElement === part("canvas")];
    const state = { patient: patient.name, shown, view, layers, cross, focus, scroll: scrollY };
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(state));
    } catch {} // a browser that stores nothing begins anew
  }

  function recalled() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEPT));
      sessionStorage.removeItem(KEPT);
      return facts.patients.some((each) => each.name === kept?.patient) ? kept : null;
    } catch {
      return null;
    }
  }

  function turnTo(kept) {
    part("view").value = kept.view;
    viewer.setSliceType(VIEWS[kept.view]);
    const frac = [...viewer.mm2frac(kept.cross, 0, true)].map((value) => Math.min(1, Math.max(0, value)));
    viewer.scene.crosshairPos = frac;
    viewer.drawScene();
    showValues("At the cross", frac);
    if (kept.focus) part("canvas").focus({ preventScroll: true });
    scrollTo(scrollX, kept.scroll); // the page was shorter before
  }

  function compose() {
    const drawn = [patient.shown, ...patient.overlays.filter((layer) => layer.on)].map((layer) => layer.image);
    viewer.volumes = drawn;
    viewer.back = drawn[0];
    viewer.overlays = drawn.slice(1);
    viewer.updateGLVolume();
    showValues("At the cross", viewer.scene.crosshairPos);
  }

  // Controls.

  function slider(label, low, high, value, change, text) {
    const output = make("output", { textContent: text(value) });
    const step = high - low > 100 ? 1 : (high - low) / 200;
    const input = make("input", { type: "range", min: low, max: high, step });
    input.value = value;
    input.addEventListener("input", () => {
      output.textContent = text(Number(input.value));
      change(Number(input.value));
    });
    return make("label", { className: "slider" }, make("span", { textContent: label }), input, output);
  }

  function controls() {
    const choose = (layer, index) => {
      const input = make("input", { type: "radio", name: "viewer-image", checked: layer === patient.shown });
      input.addEventListener("change", () => show(layer));
      return make("label", {}, input, ` ${layer.title} `, make("kbd", { textContent: index + 1 }));
    };
    part("images").replaceChildren(...patient.images.map(choose));
    part("overlays").replaceChildren(...patient.overlays.map(overlayControls));
    part("overlays").closest("fieldset").hidden = !patient.overlays.length;
    windowControls();
  }

  function show(layer) {
    patient.shown = layer;
    part("images").querySelectorAll("input")[patient.images.indexOf(layer)].checked = true;
    windowControls();
    compose();
  }

  function overlayControls(layer) {
    const input = make("input", { type: "checkbox", checked: layer.on });
    input.addEventListener("change", () => ((layer.on = input.checked), compose()));
    const parts = [make("label", {}, input, ` ${layer.title}`)];
    const changed = () => layer.on && compose();
    const percent = (value) => `${Math.round(100 * value)} %`;
    const opacity = (value) => ((layer.opacity = layer.image.opacity = value), changed());
    parts.push(slider("opacity", 0, 1, layer.opacity, opacity, percent));
    if (["error", "spread", "confidence"].includes(layer.kind)) {
      const unit = (value) => `${readable(value)} ${layer.unit}`;
      const from = (value) => ((layer.window[0] = layer.image.cal_min = value), changed());
      parts.push(slider("from", 0, layer.window[1], layer.window[0], from, unit));
      const ends = [layer.kind === "error" ? unit(-layer.window[1]) : unit(0), unit(layer.window[1])];
      const texts = ends.map((end) => make("span", { textContent: end }));
      parts.push(make("div", { className: `scale of-${layer.kind}` }, ...texts));
    }
    for (const [name, colour] of layer.classes) {
      const swatch = make("i");
      swatch.style.background = colour;
      parts.push(make("span", { className: "class" }, swatch, name));
    }
    return make("div", { className: "overlay" }, ...parts);
  }

  const linked = () => (["synthetic", "true"].includes(patient.shown.key) ? ["synthetic", "true"] : [patient.shown.key]);

  function setWindow([low, high]) {
    for (const layer of patient.images.filter((each) => linked().includes(each.key))) {
      layer.window = [low, Math.max(high, low + 1e-6)];
      [layer.image.cal_min, layer.image.cal_max] = layer.window;
    }
    windowControls();
    compose();
  }

  function windowControls() {
    const { window: shown, limits, unit, key } = patient.shown;
    const first = facts.patients.find((each) => each.name === patient.name).layers.find((each) => each.key === key).window;
    const windows = unit === "HU" ? Object.entries(facts.windows) : [["automatic", first]];
    const options = windows.map(([name, [low, high]]) => {
      const chosen = low === shown[0] && high === shown[1];
      return new Option(unit === "HU" ? `${name}: ${readable(low)} to ${readable(high)} HU` : name, name, chosen, chosen);
    });
    if (!options.some((option) => option.selected)) options.push(new Option("as set below", "", true, true));
    part("window").replaceChildren(...options);
    const [level, width] = [(shown[0] + shown[1]) / 2, shown[1] - shown[0]];
    const span = limits[1] - limits[0];
    const text = (value) => `${readable(value)} ${unit}`;
    if (part("sliders").contains(document.activeElement)) return; // it is being moved: leave it to the hand
    const live = () => {
      const [c, w] = [...part("sliders").querySelectorAll("input")].map((input) => Number(input.value));
      setWindow([c - w / 2, c + w / 2]);
    };
    part("sliders").replaceChildren(
      slider("level", limits[0], limits[1], level, live, text),
      slider("width", span > 100 ? 1 : span / 200, span, width, live, text),
    );
  }

  // Values, keys and pointer.

  function showValues(where, frac) {
    if (!patient || !frac || frac[0] < 0) return;
    const [x, y, z] = patient.shown.size.map((size, axis) => Math.min(size - 1, Math.max(0, Math.floor(frac[axis] * size))));
    const [nx, ny] = patient.shown.size;
    const index = x + nx * (y + ny * z);
    const told = [];
    for (const layer of patient.all) {
      if (layer.kind === "mask") continue;
      const stored = layer.values[index];
      const masked = layer.kind === "error" && patient.all.some((each) => each.kind === "mask" && !each.values[index]);
      if (layer.classes.length) told.push([layer.title, stored ? layer.classes[stored - 1][0] : "–"]);
      else if (masked) told.push([layer.title, "outside the mask"]);
      else told.push([layer.title, `${readable(layer.slope * stored + layer.intercept)} ${layer.unit}`.trim()]);
    }
    // true: by the affine of the file. Else niivue gives the place on the upright grid that it draws an oblique one on.
    const millimetres = [...viewer.frac2mm(frac, 0, true)].slice(0, 3).map((value) => value.toFixed(1).replace("-", "−"));
    const place = patient.oriented ? `${millimetres.join(", ")} mm (right, anterior, superior)` : `voxel ${x}, ${y}, ${z}`;
    const cells = told.map(([name, value]) => make("span", {}, `${name} `, make("b", { textContent: value })));
    part("values").replaceChildren(make("span", { textContent: `${where}: ${place}` }), ...cells);
  }

  const MOVES = {
    ArrowLeft: [1, 0, 0],
    ArrowRight: [-1, 0, 0],
    ArrowUp: [0, 1, 0],
    ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1],
    PageDown: [0, 0, -1],
  };

  function listen() {
    const canvas = part("canvas");
    const screen = canvas.parentElement;
    screen.addEventListener("keydown", (event) => {
      const chosen = patient.images[Number(event.key) - 1];
      if (MOVES[event.key]) viewer.moveCrosshairInVox(...MOVES[event.key]);
      else if (chosen) show(chosen);
      else if (event.key !== "Tab") return event.stopPropagation(); // keys of niivue that no text explains
      else return;
      event.preventDefault();
      event.stopPropagation();
    }, true);
    screen.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) event.stopPropagation(); // the page scrolls until the viewer is clicked
    }, true);
    canvas.addEventListener("mousemove", (event) => {
      const [scale, box] = [viewer.uiData.dpr || 1, canvas.getBoundingClientRect()];
      const place = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      showValues("Under the pointer", viewer.canvasPos2frac(place));
    });
    canvas.addEventListener("mouseleave", () => showValues("At the cross", viewer.scene.crosshairPos));
    part("patient").addEventListener("change", (event) => open(event.target.value));
    part("view").addEventListener("change", (event) => viewer.setSliceType(VIEWS[event.target.value]));
    part("window").addEventListener("change", (event) => {
      const first = facts.patients.find((each) => each.name === patient.name);
      const chosen = facts.windows[event.target.value];
      setWindow(chosen ?? first.layers.find((layer) => layer.key === patient.shown.key).window);
    });
  }

  function fail(error) {
    part("body").hidden = true;
    say(`The viewer could not start (${error.message}). The pictures of the page show the patients without it.`);
  }

  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser has no WebGL2, which the viewer needs. The pictures of the page show the patients without it.");
  } else if (!("DecompressionStream" in window)) {
    say("This browser is too old for the viewer (no DecompressionStream). The pictures of the page show the patients.");
  } else {
    part("patient").replaceChildren(...facts.patients.map((each) => new Option(`${each.name} (${each.voxels})`, each.name)));
    part("view").replaceChildren(...Object.keys(VIEWS).map((name) => new Option(name)));
    const known = new Set(facts.patients.map((each) => each.name));
    document.addEventListener("click", (event) => {
      const name = event.target.closest("a[data-case]")?.dataset.case;
      if (!known.has(name)) return;
      event.preventDefault();
      part("section").scrollIntoView();
      open(name).then(() => part("canvas").focus({ preventScroll: true }), fail);
    });
    const kept = recalled();
    document.addEventListener("medgen-again", keep);
    if (kept) open(kept.patient, kept).catch(fail);
    else say("The viewer starts when you scroll here.");
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      if (!starting) open(facts.patients[0].name).catch(fail);
    }, { rootMargin: "300px" });
    seen.observe(part("section"));
  }
}
