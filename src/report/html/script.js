"use strict";
// A picture whose address waits is shown when its card comes near the screen.
function show(card) {
  const picture = card.querySelector("img[data-src]");
  if (picture) {
    picture.src = picture.dataset.src;
    delete picture.dataset.src;
  }
}
const showAll = () => document.querySelectorAll("article").forEach(show);
// Before there are cards, so that none is missed.
document.addEventListener("contentvisibilityautostatechange", (event) => {
  if (!event.skipped && event.target.matches("article")) show(event.target);
}, true);
addEventListener("beforeprint", showAll);

// Cards that can be found, filtered, sorted and walked through.
function gallery(grid, isWholePage) {
  // As many cards as fill rows of any usual length.
  const SHEET = 840;
  const find = document.querySelector("#find");
  const only = document.querySelector("#only");
  const order = document.querySelector("#order");
  const count = document.querySelector("output");
  const cards = [...grid.querySelectorAll("article")];
  let shown = cards;

  // What is looked through or sorted by, once it is asked for.
  const once = (read) => {
    const known = new Map();
    return (card) => known.get(card) ?? (known.set(card, read(card)), known.get(card));
  };
  const text = once((card) => card.textContent.toLowerCase());
  const name = once((card) => card.querySelector(".name").textContent);
  const position = new Map(cards.map((card, position) => [card, position]));
  const kinds = (card) => (card.dataset.kinds || "").split(" ");
  const probability = (card) => Number(card.dataset.probability ?? -1);
  const margin = (card) => Number(card.dataset.margin ?? -1);

  const tally = new Map();
  for (const card of cards) for (const kind of kinds(card)) tally.set(kind, (tally.get(kind) || 0) + 1);
  for (const option of only.options) {
    const number = option.value ? tally.get(option.value) || 0 : cards.length;
    option.textContent += ` (${number})`;
  }

  const byName = (a, b) => name(a).localeCompare(name(b), undefined, { numeric: true });
  const orders = {
    input: (a, b) => position.get(a) - position.get(b),
    name: byName,
    surest: (a, b) => probability(b) - probability(a) || byName(a, b),
    unsure: (a, b) => probability(a) - probability(b) || byName(a, b),
    closest: (a, b) => margin(a) - margin(b) || byName(a, b),
  };

  const columns = () => {
    const sheet = grid.querySelector("section");
    return sheet ? getComputedStyle(sheet).gridTemplateColumns.split(" ").length : 1;
  };

  // Tells how high the sheets are that are not laid out.
  function measure() {
    const rows = (sheet) => Math.ceil(sheet.childElementCount / columns());
    const [first, ...others] = grid.children;
    const height = first ? first.offsetHeight / rows(first) : 0;
    for (const sheet of others) sheet.style.containIntrinsicHeight = `auto ${Math.round(height * rows(sheet))}px`;
  }

  function tell() {
    count.textContent = `${shown.length} of ${cards.length} images`;
  }

  function deal() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (card) =>
      (!only.value || kinds(card).includes(only.value)) && words.every((word) => text(card).includes(word));
    shown = cards.filter(matches).sort(orders[order.value]);
    const sheets = [];
    for (let i = 0; i < shown.length; i += SHEET) {
      const sheet = document.createElement("section");
      sheet.append(...shown.slice(i, i + SHEET));
      sheets.push(sheet);
    }
    grid.replaceChildren(...sheets);
    measure();
    tell();
  }

  function step(by) {
    const at = shown.indexOf(document.activeElement.closest("article"));
    const next = at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1);
    shown[next]?.focus();
    shown[next]?.scrollIntoView({ block: "nearest" });
  }

  const keys = {
    "/": () => find.focus(),
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    ArrowDown: () => step(columns()),
    ArrowUp: () => step(-columns()),
    Enter: () => document.activeElement.closest("article")?.classList.toggle("large"),
  };

  document.addEventListener("keydown", (event) => {
    const isField = event.target.closest("input, select");
    // Among other things arrows scroll, until a card is chosen.
    const isHere = isWholePage || event.key === "/" || grid.contains(event.target);
    if (event.key === "Escape") {
      find.value = "";
      only.value = "";
      deal();
      document.activeElement.blur();
    } else if (!isField && isHere && !event.ctrlKey && !event.altKey && !event.metaKey) {
      const act = keys[event.key];
      if (act) {
        event.preventDefault();
        act();
      }
    }
  });
  find.addEventListener("input", deal);
  only.addEventListener("change", deal);
  order.addEventListener("change", deal);
  addEventListener("resize", measure);
  find.form.addEventListener("submit", (event) => event.preventDefault());
  // A browser may bring back what stood in the form.
  if (find.value || only.value || order.value !== "input") deal();
  else {
    measure();
    tell();
  }
}

// A table that a click on a heading sorts: numbers from the largest, words from A.
function sortable(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.querySelector("data");
    return number ? Number(number.value) : cell.textContent;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  // Cells without a value stay last.
  const isEmpty = (value) => value === "";
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.ariaSort || (head.matches(".number") ? "ascending" : "descending");
      const sign = before === "ascending" ? -1 : 1;
      for (const other of heads) other.ariaSort = null;
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      rows.sort(([a], [b]) => isEmpty(a) - isEmpty(b) || sign * compare(a, b));
      body.replaceChildren(...rows.map(([, row]) => row));
    });
  });
}

document.addEventListener("DOMContentLoaded", () => {
  if (!window.ContentVisibilityAutoStateChangeEvent) showAll();
  const grid = document.querySelector(".cards");
  if (grid) gallery(grid, grid.matches("main"));
  document.querySelectorAll("table.sortable").forEach(sortable);
});
