// A press on a column's header sorts the table: rising, falling, and then in the order of the report again.
"use strict";

const PREFIXES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const NUMBER = new RegExp(
  "^([<>]?)\\s*([+-]?(?:\\d[\\d,]*\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?)" + // "< .0001", "1,304", "-2.91 to +2.69"
    "(?:(?:/| of )(\\d+)| ([kMGTP]))?" + // "7/8", "1.5 of 200", "12.3 T"
    "(?=x?$|x?[\\s%(])", // "1.2x", "50%", "85.40 (2/5)", but not "3.11.7" or "76fd3e44"
);
const words = new Intl.Collator("en", { numeric: true });

// Numbers come first, then other texts, then cells without a value, whichever way a column is sorted.
function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const [, side, digits, whole = 1, prefix] = NUMBER.exec(text) ?? [];
  const value = (Number(digits?.replaceAll(",", "")) * (PREFIXES[prefix] ?? 1)) / whole;
  if (Number.isFinite(value)) return { rank: 0, value, side: "< >".indexOf(side || " ") };
  return { rank: ["", "-"].includes(text) ? 2 : 1, text };
}

function compare(a, b, direction) {
  if (a.rank !== b.rank) return a.rank - b.rank;
  if (a.rank === 0) return direction * (a.value - b.value || a.side - b.side);
  return a.rank === 1 ? direction * words.compare(a.text, b.text) : 0;
}

function makeSortable(body) {
  const original = [...body.rows];
  const headers = [...body.parentElement.tHead.rows[0].cells];

  function press(header) {
    const next = { ascending: "descending", descending: null }[header.getAttribute("aria-sort")];
    const order = next === undefined ? "ascending" : next;
    headers.forEach((other) => other.removeAttribute("aria-sort"));
    if (order === null) return body.append(...original);
    header.setAttribute("aria-sort", order);
    const column = headers.indexOf(header);
    const direction = order === "ascending" ? 1 : -1;
    const keyed = original.map((row) => ({ row, key: key(row, column) }));
    keyed.sort((a, b) => compare(a.key, b.key, direction)); // stable, by the language's definition
    body.append(...keyed.map(({ row }) => row));
  }

  for (const header of headers) {
    const button = document.createElement("button");
    button.type = "button";
    if (!header.textContent) button.setAttribute("aria-label", "Sort by this column");
    button.append(...header.childNodes);
    button.addEventListener("click", () => press(header));
    header.append(button);
  }
}

document.querySelectorAll("tbody").forEach(makeSortable);
// Where the contents stand above the text and not beside it, they would fill the first screen.
if (!matchMedia("(min-width: 90rem)").matches) document.querySelector("nav details").open = false;
