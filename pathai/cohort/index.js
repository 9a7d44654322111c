"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const find = document.getElementById("find");
  const status = document.getElementById("status");
  const foreign = document.getElementById("foreign");
  const flagged = document.getElementById("flagged");
  const shown = document.getElementById("shown");

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, i) => {
      const fits = words.every((word) => texts[i].includes(word))
        && (!status.value || row.dataset.status === status.value)
        && (!foreign.checked || row.dataset.foreign === "1")
        && (!flagged.checked || row.dataset.flagged === "1");
      row.hidden = !fits;
      count += fits ? 1 : 0;
    });
    shown.textContent = count === rows.length ? `${count} slides` : `${count} of ${rows.length} slides`;
  }

  function sort(head, column) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const numeric = head.dataset.sort !== "text";
    const value = (row) => row.cells[column].dataset.value || "";
    const compare = (a, b) => {
      const x = value(a);
      const y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return down ? -order : order;
    };
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.slice().sort(compare));
  }

  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
  for (const input of [find, status, foreign, flagged]) input.addEventListener("input", filter);
  table.tHead.rows[0].cells[1].setAttribute("aria-sort", "ascending");
  document.getElementById("filters").hidden = false;
  filter();
})();
