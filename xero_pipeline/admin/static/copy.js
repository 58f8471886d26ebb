// Copies a table so that it can be pasted into a spreadsheet: a tab between cells, plain numbers, no formulas.

import { announce, el, icon } from "./dom.js";

const GROUPED = /^−?\d{1,3}(,\d{3})*(\.\d+)?$/;
// A spreadsheet would take a pasted text that begins like this for a formula.
const FORMULA = /^[=+\-@＝＋－＠]/;
const SHOWN_MS = 2000;

/** A button for the head of a card: it copies the card's table. */
export function copyButton(name) {
  const label = el("span", {}, "Copy");
  const button = el("button", { type: "button", class: "button small quiet copy", "aria-label": `Copy ${name} for a spreadsheet`, onclick: copy }, icon("copy"), label);

  async function copy() {
    const copied = await write(toText(button.closest(".card").querySelector("table")));
    label.textContent = copied ? "Copied" : "Not copied";
    announce(copied ? `${name} is copied. Paste it into a spreadsheet.` : "The browser did not allow copying.");
    window.setTimeout(() => {
      label.textContent = "Copy";
    }, SHOWN_MS);
  }

  return button;
}

/** The rows of a table as lines. Rows that only explain a figure are left out. */
export function toText(table) {
  const rows = [...table.rows].filter((row) => !row.classList.contains("marks"));
  return rows.map((row) => [...row.cells].map((cell) => plain(cell)).join("\t")).join("\n");
}

function plain(cell) {
  const shown = cell.cloneNode(true);
  for (const mark of shown.querySelectorAll(".restated, svg")) mark.remove();
  // the code of an account stands in an element of its own
  for (const code of shown.querySelectorAll(".code")) code.append(" ");
  const text = shown.textContent.replace(/\s+/g, " ").trim();
  if (GROUPED.test(text)) return text.replaceAll(",", "").replace("−", "-");
  if (text === "–") return "";
  return FORMULA.test(text) ? `'${text}` : text;
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without https there is no clipboard; the older way works there.
    return writeTheOlderWay(text);
  }
}

function writeTheOlderWay(text) {
  const focused = document.activeElement;
  const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
