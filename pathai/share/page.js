"use strict";
// Opens from a disk: no fetch, no module, and no canvas is read back. Text enters as text only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = { slide: -1, item: null, at: 0, hidden: false };
  const EVIDENCE = "#0050c8";

  const make = (name, fields = {}, ...inside) => {
    const made = Object.assign(document.createElement(name), fields);
    made.append(...inside);
    return made;
  };

  // --- tiles --------------------------------------------------------------------------------

  const bits = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  function source(levels, url) {
    const masks = levels.masks.map((text) => (text ? bits(text) : null));
    const finest = masks.length - 1;
    const made = new OpenSeadragon.TileSource({
      width: levels.size[0], height: levels.size[1], tileSize: levels.tile, tileOverlap: 0,
      minLevel: Math.max(finest - 12, 0), maxLevel: finest,
    });
    made.getTileUrl = url;
    made.tileExists = (level, x, y) => {
      const mask = masks[level];
      if (!mask) return false;
      const width = Math.ceil(levels.size[0] / 2 ** (finest - level));
      const columns = Math.ceil(width / levels.tile);
      const rows = Math.ceil(Math.ceil(levels.size[1] / 2 ** (finest - level)) / levels.tile);
      if (x < 0 || y < 0 || x >= columns || y >= rows) return false;
      const at = y * columns + x;
      return ((mask[at >> 3] >> (7 - (at & 7))) & 1) === 1;
    };
    return made;
  }

  // World units: the slide's width at level 0 is 1.
  const entry = (slide, levels, step, url, opacity, more = {}) => ({
    tileSource: source(levels, url), x: 0, y: 0,
    width: (levels.size[0] * step) / slide.size[0], opacity, ...more,
  });

  function entries(slide) {
    const found = [entry(slide, slide.levels, slide.step,
      (l, x, y) => `${slide.folder}/slide_files/${l}/${x}_${y}.jpg`, 1,
      { placeholderFillStyle: slide.glass })];
    for (const one of slide.attention) {
      const picture = new OpenSeadragon.TileSource({
        width: one.size[0], height: one.size[1], tileSize: Math.max(...one.size),
        tileOverlap: 0, minLevel: 0, maxLevel: 0,
      });
      picture.getTileUrl = () => one.file;
      const [x, y, width] = one.box.map((v) => v / slide.size[0]);
      found.push({ tileSource: picture, x, y, width, opacity: 0 });
    }
    slide.nuclei.classes.forEach((one, i) => {
      const levels = { size: slide.nuclei.size, tile: slide.nuclei.tile, masks: one.masks };
      found.push(entry(slide, levels, slide.nuclei.step,
        (l, x, y) => `${slide.folder}/nuclei_files/${i}/${l}/${x}_${y}.png`, 0));
    });
    return found;
  }

  // It warns of tiles that arrive after their slide has gone, which is no fault.
  const quiet = () => {};
  OpenSeadragon.console = {
    log: quiet, debug: quiet, info: quiet, warn: quiet, assert: quiet,
    error: (...words) => console.error(...words),
  };
  const viewer = OpenSeadragon({
    element: byId("viewer"), drawer: "canvas", prefixUrl: "", showNavigationControl: false,
    showNavigator: true, navigatorPosition: "BOTTOM_RIGHT", navigatorSizeRatio: 0.16,
    navigatorAutoFade: false, navigatorDisplayRegionColor: EVIDENCE, crossOriginPolicy: false,
    loadTilesWithAjax: false, animationTime: still ? 0 : 0.7, springStiffness: 9,
    maxZoomPixelRatio: 4, minZoomImageRatio: 0.7, visibilityRatio: 0.4, zoomPerClick: 1,
    zoomPerScroll: 1.3, imageLoaderLimit: 6, maxImageCacheCount: 300, tabIndex: 0,
    subPixelRoundingForTransparency: 2,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });
  window.pathaiShare = { viewer, state, data };
  const ink = make("canvas", { id: "ink" });
  ink.setAttribute("aria-hidden", "true");
  viewer.canvas.append(ink);

  // --- slides -------------------------------------------------------------------------------

  let opening = false; // a slide is on its way, and `then` comes after it
  let then = null;
  const layers = []; // what can be switched: { on, strength, apply }

  function show(number, after = null) {
    const slide = data.slides[number];
    if (!slide || slide.problem) return;
    if (number === state.slide) {
      if (opening) then = after;
      else if (after) after();
      return;
    }
    Object.assign(state, { slide: number });
    [opening, then] = [true, after];
    for (const tab of byId("tabs").children) {
      const chosen = Number(tab.dataset.slide) === number;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) byId("panel").setAttribute("aria-labelledby", tab.id);
    }
    byId("viewer").style.background = slide.glass;
    drawLayers(slide);
    viewer.open(entries(slide));
  }

  viewer.addHandler("open", () => {
    viewer.viewport.goHome(true);
    applyLayers();
    powers();
    const after = then;
    [opening, then] = [false, null];
    if (after) after();
    viewer.forceRedraw();
  });

  viewer.addHandler("tile-load-failed", () => {
    byId("trouble").textContent =
      "A picture is missing. If you opened this page inside of the zip, unzip all of it first.";
    byId("trouble").hidden = false;
  });

  data.slides.forEach((slide, i) => {
    const tab = make("button", { type: "button", id: `tab-${i}`, title: slide.name },
      `Slide ${i + 1}${slide.stain ? ` · ${slide.stain}` : ""}`);
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "panel");
    tab.dataset.slide = i;
    tab.disabled = Boolean(slide.problem);
    tab.addEventListener("click", () => { clear(); show(i); });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); turn(step); byId(`tab-${state.slide}`).focus(); }
    });
    byId("tabs").append(tab);
  });

  function turn(step) {
    const count = data.slides.length;
    for (let k = 1; k < count; k += 1) {
      const next = (state.slide + step * k + count * k) % count;
      if (!data.slides[next].problem) { clear(); show(next); return; }
    }
  }

  // --- magnification and scale --------------------------------------------------------------

  const here = () => data.slides[state.slide];
  const umPerPx = () => {
    const slide = here();
    return (slide.size[0] * slide.mpp[0]) / (viewer.viewport.getZoom(true) * wide());
  };
  const wide = () => viewer.viewport.getContainerSize().x;
  const zoomOf = (power) => (here().size[0] * here().mpp[0] * power) / (10 * wide());

  function powers() {
    for (const button of document.querySelectorAll("[data-power]")) {
      const zoom = zoomOf(Number(button.dataset.power));
      button.disabled = zoom > viewer.viewport.getMaxZoom() * 1.01;
    }
  }
  for (const button of document.querySelectorAll("[data-power]")) {
    button.addEventListener("click", () =>
      viewer.viewport.zoomTo(zoomOf(Number(button.dataset.power)), null, still));
  }
  byId("whole").addEventListener("click", () => viewer.viewport.goHome(still));
  byId("in").addEventListener("click", () => viewer.viewport.zoomBy(1.6, null, still));
  byId("out").addEventListener("click", () => viewer.viewport.zoomBy(1 / 1.6, null, still));

  function scale() {
    const um = umPerPx();
    const most = Math.min(wide() / 4, 180) * um;
    const ten = 10 ** Math.floor(Math.log10(most));
    const length = ten * (most >= 5 * ten ? 5 : most >= 2 * ten ? 2 : 1);
    byId("rule").style.width = `${length / um}px`;
    byId("length").textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
    const power = 10 / um;
    byId("power").textContent = `${power >= 10 ? power.toFixed(0) : power.toPrecision(2)}×`;
    byId("rule").parentElement.setAttribute("aria-label",
      `Scale bar ${byId("length").textContent}, magnification ${byId("power").textContent}`);
  }

  // --- overlays -----------------------------------------------------------------------------

  const kept = {}; // choices outlive a change of the slide

  function layer(parent, name, what, { color = "", count = "", on = false } = {}) {
    const box = make("input", { type: "checkbox", checked: kept[name] ?? on });
    const row = make("label", {}, box);
    if (color) row.append(swatch(color));
    row.append(make("span", { className: "name" }, what));
    if (count) row.append(make("span", { className: "count" }, count));
    box.addEventListener("change", () => { kept[name] = box.checked; applyLayers(); });
    box.dataset.layer = name;
    parent.append(row);
    return box;
  }

  function swatch(color) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    for (const [key, value] of [["width", 14], ["height", 14], ["aria-hidden", "true"]]) {
      svg.setAttribute(key, value);
    }
    const dot = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of [["x", 1], ["y", 1], ["width", 12], ["height", 12], ["rx", 3],
      ["fill", color], ["stroke", "#1d2529"], ["stroke-opacity", 0.35]]) {
      dot.setAttribute(key, value);
    }
    svg.append(dot);
    return svg;
  }

  function strength(parent, name, label, start) {
    const range = make("input", { type: "range", min: 10, max: 100, value: kept[name] ?? start });
    range.addEventListener("input", () => { kept[name] = range.value; applyLayers(); });
    range.dataset.strength = name;
    range.setAttribute("aria-label", label);
    parent.append(make("label", { className: "strength" }, "strength", range));
    return range;
  }

  const group = (name) => {
    const set = make("fieldset", {}, make("legend", {}, name));
    byId("layers").append(set);
    return set;
  };

  function drawLayers(slide) {
    layers.length = 0;
    byId("layers").replaceChildren();
    let index = 1;
    if (slide.attention.length) {
      const set = group("Where a model looked: yellow some, green most");
      const boxes = slide.attention.map((one) => [one, layer(set, `attention:${one.task}`, one.task)]);
      const range = strength(set, "attention", "Strength of attention", 65);
      for (const [, box] of boxes) layers.push({ box, range, index: index++ });
    }
    if (slide.nuclei.classes.length) {
      const title = slide.nuclei.experimental ? "Nuclei (classes are experimental)" : "Nuclei";
      const set = group(title);
      if (slide.nuclei.by_hand >= 0) {
        const count = slide.nuclei.by_hand.toLocaleString("en");
        set.append(make("p", { className: "by-hand" }, `Corrected by a person: ${count} nuclei by hand`));
      }
      const boxes = slide.nuclei.classes.map((one) => layer(set, `nuclei:${one.name}`, one.name,
        { color: one.color, count: one.count.toLocaleString("en") }));
      const range = strength(set, "nuclei", "Strength of nuclei", 90);
      for (const box of boxes) layers.push({ box, range, index: index++ });
    }
    const set = group("Outlines");
    layers.push({ box: layer(set, "evidence", "evidence of a sentence", { color: EVIDENCE, on: true }) });
    layers.push({ box: layer(set, "tissue", "tissue", { color: "#404040" }) });
    if (slide.left.length) {
      layers.push({ box: layer(set, "left", "left out: ink, blur, folds", { color: "#cc79a7" }) });
    }
    if (slide.unreadable.length) {
      layers.push({ box: layer(set, "unreadable", "not readable", { color: "#d55e00", on: true }) });
    }
  }

  function applyLayers() {
    for (const { box, range, index } of layers) {
      const item = index === undefined ? null : viewer.world.getItemAt(index);
      if (item) item.setOpacity(box.checked && !state.hidden ? range.value / 100 : 0);
    }
    draw();
  }

  const shown = (name) => {
    const found = layers.find(({ box }) => box.dataset.layer === name);
    return Boolean(found && found.box.checked && !state.hidden);
  };

  // --- drawing ------------------------------------------------------------------------------

  function draw() {
    const slide = here();
    if (!slide || !viewer.world.getItemCount()) return;
    const ratio = window.devicePixelRatio || 1;
    const size = viewer.viewport.getContainerSize();
    const wanted = [Math.round(size.x * ratio), Math.round(size.y * ratio)];
    if (ink.width !== wanted[0] || ink.height !== wanted[1]) [ink.width, ink.height] = wanted;
    const pen = ink.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, size.x, size.y);
    const zero = viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const one = viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(1, 1), true);
    const k = (one.x - zero.x) / slide.size[0];
    const at = ([x, y]) => [zero.x + x * k, zero.y + y * k];
    if (shown("left")) rings(pen, slide.left, at, "#cc79a7", 1.5, [5, 3]);
    if (shown("tissue")) rings(pen, slide.tissue, at, "#404040", 1.5);
    if (shown("unreadable")) for (const box of slide.unreadable) frame(pen, box, at, "#d55e00", 1.5, [6, 4]);
    if (shown("evidence") && state.item) {
      state.item.places.forEach((place, i) => {
        if (place.slide !== state.slide) return;
        const width = i === state.at ? 3 : 1.75;
        const whole = [0, 0, slide.size[0], slide.size[1]];
        if (place.rings.length) halo(pen, () => rings(pen, place.rings, at, EVIDENCE, width), () =>
          rings(pen, place.rings, at, "#fff", width + 3));
        else halo(pen, () => frame(pen, place.box || whole, at, EVIDENCE, width), () =>
          frame(pen, place.box || whole, at, "#fff", width + 3));
      });
    }
    scale();
  }

  const halo = (pen, line, light) => { pen.globalAlpha = 0.85; light(); pen.globalAlpha = 1; line(); };

  function stroke(pen, color, width, dash) {
    Object.assign(pen, { strokeStyle: color, lineWidth: width, lineJoin: "round" });
    pen.setLineDash(dash);
    pen.stroke();
  }

  function rings(pen, all, at, color, width, dash = []) {
    pen.beginPath();
    for (const ring of all) {
      ring.forEach((point, i) => (i ? pen.lineTo(...at(point)) : pen.moveTo(...at(point))));
      pen.closePath();
    }
    stroke(pen, color, width, dash);
  }

  function frame(pen, [x, y, width, height], at, color, line, dash = []) {
    const [left, top] = at([x, y]);
    const [right, bottom] = at([x + width, y + height]);
    pen.beginPath();
    pen.rect(left, top, right - left, bottom - top);
    stroke(pen, color, line, dash);
  }

  for (const name of ["update-viewport", "resize"]) viewer.addHandler(name, draw);
  viewer.addHandler("resize", () => state.slide >= 0 && powers());

  // --- sentences ----------------------------------------------------------------------------

  function clear() {
    for (const one of document.querySelectorAll("button.one")) one.setAttribute("aria-pressed", "false");
    Object.assign(state, { item: null, at: 0 });
    byId("place").hidden = true;
    draw();
  }

  function choose(item, button) {
    const next = state.item === item ? (state.at + 1) % item.places.length : 0;
    clear();
    Object.assign(state, { item, at: next });
    button.setAttribute("aria-pressed", "true");
    fly();
  }

  function fly() {
    const { item, at } = state;
    const place = item.places[at];
    const count = item.places.length;
    const slide = data.slides[place.slide];
    const where = place.box ? `place ${at + 1} of ${count}` : "whole slide";
    byId("place").replaceChildren(slide.problem
      ? `Slide ${place.slide + 1} is not in this bundle.`
      : `${item.id ? `${item.id} · ` : ""}slide ${place.slide + 1}, ${where}`);
    if (count > 1) {
      byId("place").append(make("span", { className: "again" }, " · choose the sentence again for the next"));
    }
    byId("place").hidden = false;
    show(place.slide, () => {
      if (!place.box) { viewer.viewport.goHome(still); draw(); return; }
      const [x, y, width, height] = place.box;
      const least = 150 / slide.mpp[0];
      const side = Math.max(1.6 * width, 1.6 * height, least);
      const rect = new OpenSeadragon.Rect(x + width / 2 - side / 2, y + height / 2 - side / 2, side, side);
      const k = 1 / slide.size[0];
      viewer.viewport.fitBounds(rect.times(k), still);
      draw();
    });
  }

  function sentence(item) {
    const places = item.places.length;
    const inside = [item.text];
    if (item.mark) inside.push(" ", make("span", { className: "aside" }, item.mark));
    if (places) {
      const boxed = item.places[0].box;
      const words = boxed ? (places > 1 ? `${places} places` : "1 place") : "whole slide";
      inside.push(" ", make("span", { className: "where" }, `▸ ${words}`));
    }
    for (const note of item.notes) {
      inside.push(make("span", { className: item.serious ? "note serious" : "note" }, note));
    }
    if (item.source) inside.push(make("span", { className: "note" }, item.source));
    if (!places) return make("li", {}, make("p", { className: "one" }, ...inside));
    const button = make("button", { type: "button", className: "one" }, ...inside);
    button.setAttribute("aria-pressed", "false");
    button.dataset.id = item.id;
    button.addEventListener("click", () => choose(item, button));
    return make("li", {}, button);
  }

  function chapter(title, items, notes = [], className = "") {
    if (!items.length) return;
    const list = make("ul", { className: "said" }, ...items.map(sentence));
    const lines = notes.map((note) => make("p", { className: "note" }, note));
    byId("story").append(make("section", { className }, make("h2", {}, title), ...lines, list));
  }

  if (data.story) {
    const { story } = data;
    chapter("Contradictions to resolve first", story.alarms, [], "alarm");
    chapter("Clinical context, as entered", story.context);
    for (const section of story.sections) chapter(section.title, section.items, section.notes);
    chapter("Suggestions from the rules' table, not from a model", story.suggestions);
    chapter("References", story.references);
  }

  const mark = document.querySelector(".mark");
  new ResizeObserver(() =>
    document.documentElement.style.setProperty("--top", `${mark.offsetHeight}px`)).observe(mark);

  // --- keys ---------------------------------------------------------------------------------

  byId("story")?.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const all = [...document.querySelectorAll("button.one")];
    const next = all[all.indexOf(document.activeElement) + step];
    if (next) { event.preventDefault(); next.focus(); }
  });

  viewer.addHandler("canvas-key", (event) => { // turning and mirroring a slide is no part of this
    const { key } = event.originalEvent;
    if (["r", "R", "f", "h", "H"].includes(key)) event.preventDefaultAction = true;
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") clear();
    else if (event.key === "h" || event.key === "H") { state.hidden = !state.hidden; applyLayers(); }
    else if (event.key === "[") turn(-1);
    else if (event.key === "]") turn(1);
  });

  viewer.canvas.setAttribute("aria-label", "Slide: arrows move, plus and minus zoom, 0 shows all");
  if (matchMedia("(max-width: 58rem)").matches) document.querySelector(".layers").open = false;
  show(data.slides.findIndex((slide) => !slide.problem));
  const linked = decodeURIComponent(location.hash.slice(1)); // index.html#S2 opens at that sentence
  if (linked) document.querySelector(`button[data-id="${CSS.escape(linked)}"]`)?.click();
})();
