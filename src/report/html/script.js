"use strict";
const grid = document.querySelector("main");
const cards = [...grid.children];
const find = document.querySelector("#find");
const only = document.querySelector("#only");
const order = document.querySelector("#order");
const count = document.querySelector("output");

// What is looked through, once: reading it from the page for every keystroke is slow.
const entries = cards.map((card, position) => ({
  card,
  position,
  text: card.textContent.toLowerCase(),
  name: card.querySelector(".name").textContent,
  kinds: (card.dataset.kinds || "").split(" "),
  probability: Number(card.dataset.probability ?? -1),
  margin: Number(card.dataset.margin ?? -1),
}));

const tally = new Map();
for (const { kinds } of entries) for (const kind of kinds) tally.set(kind, (tally.get(kind) || 0) + 1);
for (const option of only.options) {
  const number = option.value ? tally.get(option.value) || 0 : entries.length;
  option.textContent += ` (${number})`;
}

const byName = (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true });
const orders = {
  input: (a, b) => a.position - b.position,
  name: byName,
  surest: (a, b) => b.probability - a.probability || byName(a, b),
  unsure: (a, b) => a.probability - b.probability || byName(a, b),
  closest: (a, b) => a.margin - b.margin || byName(a, b),
};

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { card, text, kinds } of entries) {
    const matches = (!only.value || kinds.includes(only.value)) && words.every((word) => text.includes(word));
    card.hidden = !matches;
    if (matches) shown += 1;
  }
  count.textContent = `${shown} of ${entries.length} images`;
}

function sort() {
  entries.sort(orders[order.value]);
  grid.replaceChildren(...entries.map(({ card }) => card));
}

function step(by) {
  const shown = entries.filter(({ card }) => !card.hidden).map(({ card }) => card);
  const at = shown.indexOf(document.activeElement.closest("article"));
  const next = at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(Math.max(at + by, 0), shown.length - 1);
  shown[next]?.focus();
  shown[next]?.scrollIntoView({ block: "nearest" });
}

const columns = () => getComputedStyle(grid).gridTemplateColumns.split(" ").length;
const keys = {
  "/": () => find.focus(),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowDown: () => step(columns()),
  ArrowUp: () => step(-columns()),
  Enter: () => document.activeElement.closest("article")?.classList.toggle("large"),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    find.value = "";
    only.value = "";
    filter();
    document.activeElement.blur();
  } else if (!event.target.closest("input, select") && !event.ctrlKey && !event.altKey && !event.metaKey) {
    const act = keys[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  }
});
find.addEventListener("input", filter);
only.addEventListener("change", filter);
order.addEventListener("change", sort);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
// A browser may bring back what stood in the form.
if (order.value !== "input") sort();
filter();
