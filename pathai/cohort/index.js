"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const table = byId("table");
  const body = table.tBodies[0];
  const STEP = Number(table.dataset.first); // rows shown at a time
  const texts = new Map();
  let rows = Array.from(body.rows);
  let limit = STEP;
  const all = rows.length;
  const find = byId("find");
  const status = byId("status");
  const site = byId("site");
  const foreign = byId("foreign");
  const flagged = byId("flagged");
  const said = byId("shown");
  for (const row of rows) texts.set(row, row.textContent.toLowerCase());

  function fitting() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter((row) => (!status.value || row.dataset.status === status.value)
      && (!site || !site.value || row.dataset.site === site.value)
      && (!foreign.checked || row.dataset.foreign === "1")
      && (!flagged.checked || row.dataset.flagged === "1")
      && words.every((word) => texts.get(row).includes(word)));
  }

  function show() {
    const fits = fitting();
    const seen = new Set(fits.slice(0, limit));
    for (const row of rows) {
      const hide = !seen.has(row);
      if (row.hidden !== hide) row.hidden = hide;
    }
    for (const row of body.querySelectorAll(".later")) row.classList.remove("later");
    const left = fits.length - seen.size;
    const of = fits.length === all ? `${all} slides` : `${fits.length} of ${all} slides`;
    said.textContent = left ? `${of}, the first ${seen.size} shown` : of;
    byId("more").hidden = !left;
    byId("next").textContent = `Show ${Math.min(STEP, left)} more`;
    byId("clear").hidden = fits.length === all;
    return fits;
  }

  function filter() {
    limit = STEP;
    show();
  }

  function clear() {
    find.value = "";
    status.value = "";
    if (site) site.value = "";
    foreign.checked = false;
    flagged.checked = false;
    filter();
  }

  function sort(head, column) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const numeric = head.dataset.sort !== "text";
    const collator = new Intl.Collator("en", { numeric: true });
    const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.value || ""]));
    const compare = (a, b) => {
      const x = keys.get(a);
      const y = keys.get(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numeric ? Number(x) - Number(y) : collator.compare(x, y);
      return down ? -order : order;
    };
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows = rows.slice().sort(compare);
    const sorted = document.createDocumentFragment();
    for (const row of rows) sorted.append(row);
    body.append(sorted);
    filter();
  }

  // A link to a slide that is filtered out or further down shows it first.
  function reveal() {
    const row = byId(decodeURIComponent(location.hash.slice(1)));
    if (!row || row.parentNode !== body) return;
    if (!fitting().includes(row)) clear();
    limit = Math.max(limit, fitting().indexOf(row) + 1);
    show();
    row.scrollIntoView({ block: "center" });
  }

  function copy(row) {
    const command = row.dataset.review;
    const tell = (text) => { said.textContent = text; };
    if (!navigator.clipboard) { tell(`In the run's folder: ${command}`); return; }
    navigator.clipboard.writeText(command).then(
      () => tell(`Copied, for the run's folder: ${command}`),
      () => tell(`In the run's folder: ${command}`),
    );
  }

  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
  for (const row of rows) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy review";
    button.setAttribute("aria-label", `copy the command that reviews ${row.id.slice(6)}`);
    row.lastElementChild.append(button);
  }
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button.closest("tr"));
  });
  for (const tile of document.querySelectorAll(".tile")) {
    if (!tile.dataset.show) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...tile.childNodes);
    button.addEventListener("click", () => {
      clear();
      status.value = tile.dataset.show;
      filter();
      byId("slides").scrollIntoView();
      status.focus({ preventScroll: true });
    });
    tile.append(button);
  }
  byId("next").addEventListener("click", () => { limit += STEP; show(); });
  byId("every").addEventListener("click", () => { limit = all; show(); });
  byId("clear").addEventListener("click", () => { clear(); find.focus(); });
  for (const input of [find, status, site, foreign, flagged]) {
    if (input) input.addEventListener("input", filter);
  }
  window.addEventListener("hashchange", reveal);
  table.tHead.rows[0].cells[1].setAttribute("aria-sort", "ascending");
  byId("filters").hidden = false;
  filter();
  reveal();
})();
