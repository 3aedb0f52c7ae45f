"use strict";
(function () {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  // Sorting. A cell's data-v is what it is sorted by; what has none goes last either way.
  function keyOf(row, column) {
    const cell = row.cells[column];
    if (!cell) return null;
    const given = cell.dataset.v;
    const text = (given === undefined ? cell.textContent : given).trim();
    if (text === "" || text === "\u2013") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }
  function sortBy(header) {
    const table = header.closest("table");
    const column = header.cellIndex;
    const first = header.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = header.getAttribute("aria-sort") === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    all("th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", order);
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map((row, place) => [keyOf(row, column), place, row]);
    rows.sort(([a, i], [b, j]) => {
      if (a === null || b === null) return (a === null) - (b === null) || i - j;
      return sign * compare(a, b) || i - j;
    });
    body.append(...rows.map(([, , row]) => row));
  }
  all("th[aria-sort] button").forEach((button) => {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  });

  // Filters: whatever says its category, mode or subset is shown or hidden by them.
  const form = document.getElementById("filters");
  const output = document.getElementById("shown");
  const rows = all("#scores tbody tr");
  const names = ["category", "mode", "subset"];
  function apply() {
    const wanted = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (element) => names.every((name) => {
      const said = element.dataset[name] || "";
      return wanted[name] === "" || said === "" || said.split(" ").includes(wanted[name]);
    });
    let count = 0;
    rows.forEach((row) => {
      const text = row.dataset.text;
      row.hidden = !(fits(row) && words.every((word) => text.includes(word)));
      count += row.hidden ? 0 : 1;
    });
    output.textContent = `${count} of ${rows.length} rows`;
    all("figure, .grouped").forEach((element) => { element.hidden = !fits(element); });
    all(".family").forEach((part) => {
      part.hidden = !all("figure, .grouped", part).some((element) => !element.hidden);
    });
  }
  function showAll() {
    form.reset();
    apply();
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", showAll);
  apply();

  // A link to a row that a filter hides, or that is in a closed part, shows it.
  function named(hash) {
    try {
      return document.getElementById(decodeURIComponent(hash));
    } catch (error) { // a % that encodes nothing
      return document.getElementById(hash);
    }
  }
  function reveal() {
    const target = location.hash && named(location.hash.slice(1));
    if (!target) return;
    if (target.closest("[hidden]")) showAll();
    for (let part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") part.open = true;
    }
    all("td details", target).forEach((part) => { part.open = true; });
    target.scrollIntoView({ block: "center" });
  }
  // On paper nothing can be opened: all parts are printed, except lists of runs.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])").filter((part) => !part.closest("td, .problem"));
    opened.forEach((part) => { part.open = true; });
  });
  addEventListener("afterprint", () => { opened.forEach((part) => { part.open = false; }); });
  addEventListener("hashchange", reveal);
  if (document.readyState === "complete") reveal();
  else addEventListener("load", reveal);
})();
