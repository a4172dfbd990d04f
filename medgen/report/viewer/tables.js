// Tables sort on a click on a heading, or by keyboard: the worst first, then the best. Without a script they stay as written.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text === "" ? NaN : Number(text.replace("−", "-"));
    return { text, number: headings[column].dataset.worst === "far" ? Math.abs(number) : number };
  };

  const sort = (column, descending) => {
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, ...value(row, column) }));
    const text = rows.every((each) => Number.isNaN(each.number));
    const sign = descending ? -1 : 1;
    rows.sort((a, b) => {
      if (text) return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
      if (Number.isNaN(a.number) || Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
      return sign * (a.number - b.number);
    });
    table.tBodies[0].append(...rows.map((each) => each.row));
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
  };

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const sorted = heading.getAttribute("aria-sort");
      const worst = heading.dataset.worst ? heading.dataset.worst !== "low" : false;
      sort(column, sorted ? sorted === "ascending" : worst);
    });
  });
}

// Prints show what is folded away, as nobody can unfold paper.
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open]):not(.stay)")) {
    folded.open = true;
    folded.dataset.unfolded = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const unfolded of document.querySelectorAll("details[data-unfolded]")) {
    unfolded.open = false;
    delete unfolded.dataset.unfolded;
  }
});
