// The sync log, and the list of restatements.

import { api } from "./api.js";
import { day, duration, moment } from "./dates.js";
import { announce, el, icon, externalLink, scrollable, setText } from "./dom.js";
import { isNegative, isZero, minus, money } from "./money.js";
import { restatedFigure } from "./explain.js";
import { section } from "./section.js";
import { differencesOf, humanise, problemSummary, STATUS, SYNC_TYPES, TABLES } from "./labels.js";

const PAGE_SIZE = 20;
const MAX_ROWS = 200;
const FIRST_RESTATEMENTS = 10;

const WHOLE = new Set(["financial_weekly", "financial_monthly"]);

export function syncLog({ timezone, dagsterUrl }) {
  const view = section("log");
  let limit = PAGE_SIZE;
  // the ids of the entries whose details are open: they stay open when the log is read again
  const open = new Set();

  async function load() {
    view.busy();
    try {
      paint(await api.syncLogs(limit));
    } catch (error) {
      view.fail(error, load);
    }
  }

  function paint(entries) {
    if (entries.length === 0) {
      view.empty("Nothing has been synced yet", "Each sync adds a line here: what was read, how many rows, and what went wrong.", { picture: "clock" });
      return;
    }
    const several = new Set(entries.map(({ tenantId }) => tenantId)).size > 1;
    const columns = ["Status", "Week ending", "What", ...(several ? ["Organisation"] : []), "Rows", "Calls", "Started", "Run"];
    view.body.replaceChildren(
      el(
        "div",
        { class: "card table-card" },
        el(
          "table",
          { class: "log", role: "table" },
          el("caption", { class: "visually-hidden" }, "The sync log, newest first"),
          el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { scope: "col", role: "columnheader", class: ["Rows", "Calls"].includes(name) ? "amount" : null }, name)))),
          el("tbody", { role: "rowgroup" }, entries.flatMap((entry) => rows(entry, several, columns.length))),
        ),
      ),
      ...more(entries),
    );
    view.show();
  }

  function rows(entry, several, width) {
    const status = STATUS[entry.status] ?? { text: humanise(entry.status), tone: "quiet", icon: "dot" };
    const troubled = hasProblem(entry);
    const cell = (name, ...content) => el("td", { role: "cell", "data-label": name }, ...content);
    const took = duration(entry.startedAt, entry.completedAt);
    const row = el(
      "tr",
      { role: "row", class: troubled ? "has-problem" : null },
      cell("Status", el("span", { class: `chip chip-${status.tone}` }, icon(status.icon), status.text)),
      cell("Week ending", day(entry.weekEnding)),
      cell("What", SYNC_TYPES[entry.syncType] ?? humanise(entry.syncType)),
      several ? cell("Organisation", entry.tenantName ?? entry.tenantId) : null,
      el("td", { role: "cell", "data-label": "Rows", class: "amount" }, String(entry.recordCount ?? "–")),
      el("td", { role: "cell", "data-label": "Calls", class: "amount" }, String(entry.apiCalls ?? "–")),
      cell("Started", moment(entry.startedAt, timezone), took ? el("span", { class: "muted" }, ` · ${took}`) : null),
      cell("Run", runLink(entry) ?? el("span", { class: "muted" }, "–")),
    );
    if (!troubled) return [row];
    const note = findOnlyNote(entry);
    if (note) return [row, el("tr", { role: "row", class: "problem-row" }, el("td", { role: "cell", colspan: String(width), class: "note muted" }, note))];
    return [row, el("tr", { role: "row", class: "problem-row" }, el("td", { role: "cell", colspan: String(width) }, problem(entry, status)))];
  }

  function runLink(entry) {
    const url = entry.runUrl ?? (entry.dagsterRunId ? `${dagsterUrl.replace(/\/$/, "")}/runs/${entry.dagsterRunId}` : null);
    return url ? externalLink(url, "Dagster", `Run of ${SYNC_TYPES[entry.syncType] ?? entry.syncType}, week ending ${day(entry.weekEnding)}, in Dagster`) : null;
  }

  function problem(entry, status) {
    const details = el(
      "details",
      { class: `problem problem-${status.tone}` },
      el("summary", {}, problemSummary(entry.errorLog), entry.accepted ? ` ${acceptedText(entry.accepted)}` : null),
      el("div", { class: "problem-body" }, problemParts(entry.errorLog, timezone), acceptancePart(entry)),
    );
    details.open = open.has(entry.id);
    details.addEventListener("toggle", () => (details.open ? open.add(entry.id) : open.delete(entry.id)));
    return details;
  }

  /** Who accepted the differences, or a form to accept them. */
  function acceptancePart(entry) {
    if (entry.accepted) return el("p", {}, `${acceptedText(entry.accepted)} At ${moment(entry.accepted.at, timezone)}.`);
    if (entry.status !== "partial" || differencesOf(entry.errorLog).length === 0) return null;
    const note = el("input", { type: "text", maxlength: "500", name: "note", placeholder: "Why it is right as it is" });
    const button = el("button", { type: "submit", class: "button small" }, "Accept");
    const failure = el("p", { class: "tone-bad", role: "alert", hidden: true });
    const accept = async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await api.accept(entry.id, note.value.trim());
        announce("Accepted.");
        await load();
      } catch (error) {
        setText(failure, error.message);
        button.disabled = false;
      }
    };
    return el("form", { class: "accept", onsubmit: accept }, el("label", {}, el("span", {}, "Note"), note), button, failure);
  }

  function more(entries) {
    if (entries.length < limit || limit >= MAX_ROWS) return [];
    const show = () => {
      limit = Math.min(MAX_ROWS, limit + 2 * PAGE_SIZE);
      load();
    };
    return [el("p", { class: "more" }, el("button", { type: "button", class: "button", onclick: show }, "Show more"))];
  }

  return { load };
}

function acceptedText({ by, note }) {
  return `Accepted by ${by}${note ? ` (${note})` : ""}.`;
}

/** The note of an entry that has one note and nothing else: it is shown without anything to open. */
function findOnlyNote({ errorLog }) {
  const names = Object.keys(errorLog);
  return names.length === 1 && names[0] === "notes" && errorLog.notes?.length === 1 ? String(errorLog.notes[0]) : null;
}

function hasProblem({ errorLog }) {
  return errorLog !== null && errorLog !== undefined && Object.keys(errorLog).length > 0;
}

/** What to do, the differences, and every other field of the error log. */
function problemParts(errorLog, timezone) {
  if (typeof errorLog !== "object") return [el("p", {}, String(errorLog))];
  const parts = [];
  if (errorLog.advice) parts.push(el("p", {}, el("strong", {}, "What to do: "), errorLog.advice));
  const retry = errorLog.retry_at ?? errorLog.retryAt;
  if (retry) parts.push(el("p", {}, el("strong", {}, "Can continue: "), moment(retry, timezone)));
  const differences = differencesOf(errorLog);
  if (differences.length > 0) parts.push(differenceTable(differences));
  for (const note of Array.isArray(errorLog.notes) ? errorLog.notes : []) parts.push(el("p", {}, String(note)));
  const shown = new Set(["message", "advice", "retry_at", "retryAt", "differences", "notes", "error", "code"]);
  const rest = Array.isArray(errorLog) ? [] : Object.entries(errorLog).filter(([name]) => !shown.has(name));
  const kind = errorLog.error ?? errorLog.code;
  if (kind) rest.push(["code", kind]);
  if (rest.length > 0) {
    parts.push(el("dl", { class: "rest" }, rest.map(([name, value]) => el("div", {}, el("dt", {}, humanise(name)), el("dd", {}, plain(value))))));
  }
  return parts;
}

function differenceTable(differences) {
  if (differences.some((difference) => difference === null || typeof difference !== "object")) {
    return el("ul", {}, differences.map((difference) => el("li", {}, plain(difference))));
  }
  const columns = [...new Set(differences.flatMap((difference) => Object.keys(difference)))];
  const table = el(
    "table",
    { class: "figures" },
    el("caption", { class: "visually-hidden" }, "What does not add up"),
    el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col", class: isAmountColumn(differences, name) ? "amount" : null }, humanise(name))))),
    el("tbody", {}, differences.map((difference) => el("tr", {}, columns.map((name) => el("td", { class: isAmountColumn(differences, name) ? "amount" : null }, isAmountColumn(differences, name) ? money(difference[name]) : plain(difference[name])))))),
  );
  return scrollable("What does not add up, a table", table);
}

function isAmountColumn(rows, name) {
  return rows.every((row) => row[name] === null || row[name] === undefined || /^-?\d+\.\d+$/.test(String(row[name])));
}

function plain(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function restatementList({ timezone, dagsterUrl, explainer }) {
  const view = section("restatements");
  let showAll = false;

  async function load() {
    view.busy();
    try {
      paint(await api.restatements(50));
    } catch (error) {
      view.fail(error, load);
    }
  }

  function paint(restatements) {
    if (restatements.length === 0) {
      view.empty("Nothing was restated", "When a closed week is synced again and a figure has changed in Xero, its old and new values are listed here.", { picture: "restated" });
      return;
    }
    const shown = showAll ? restatements : restatements.slice(0, FIRST_RESTATEMENTS);
    const columns = [["Week ending"], ["Figure"], ["Before", "amount"], ["After", "amount"], ["Change", "amount"], ["Found"], ["Run"]];
    view.body.replaceChildren(
      el(
        "div",
        { class: "card table-card" },
        el(
          "table",
          { class: "log", role: "table" },
          el("caption", { class: "visually-hidden" }, "Restatements, newest first"),
          el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(([name, kind]) => el("th", { scope: "col", role: "columnheader", class: kind }, name)))),
          el("tbody", { role: "rowgroup" }, shown.map(row)),
        ),
      ),
      ...rest(restatements, shown),
    );
    view.show();
  }

  function rest(restatements, shown) {
    if (shown.length === restatements.length) return [];
    const show = () => {
      showAll = true;
      paint(restatements);
    };
    return [el("p", { class: "more" }, el("button", { type: "button", class: "button", onclick: show }, `Show all ${restatements.length}`))];
  }

  function row(restatement) {
    const url = restatement.runUrl ?? (restatement.dagsterRunId ? `${dagsterUrl.replace(/\/$/, "")}/runs/${restatement.dagsterRunId}` : null);
    const cell = (name, kind, ...content) => el("td", { role: "cell", "data-label": name, class: kind }, ...content);
    const table = TABLES[restatement.table] ?? humanise(restatement.table);
    // a table with one row a week or month has no name for it
    const named = restatement.name && !WHOLE.has(restatement.table);
    return el(
      "tr",
      { role: "row" },
      cell("Week ending", null, day(restatement.weekEnding)),
      cell("Figure", null, nameButton(restatement, named ? nameOf(restatement.name) : table), el("span", { class: "muted" }, ` ${humanise(restatement.column)}${named ? ` · ${table}` : ""}`)),
      cell("Before", "amount", value(restatement.old)),
      cell("After", "amount", value(restatement.new)),
      cell("Change", "amount", changeOf(restatement)),
      cell("Found", null, moment(restatement.restatedAt, timezone)),
      cell("Run", null, (url && externalLink(url, "Dagster", `The run that found the change of ${named ? restatement.name : humanise(restatement.column)}, in Dagster`)) || el("span", { class: "muted" }, "–")),
    );
  }

  /** The figure's name, as a button that opens its history. */
  function nameButton(restatement, text) {
    const figure = restatedFigure(restatement);
    if (!figure) return el("span", { class: "restated-name" }, text);
    return el("button", { type: "button", class: "figure restated-name", "aria-haspopup": "dialog", onclick: () => explainer.open(text, figure) }, text);
  }

  return { load };
}

/** Turns a cell's key "residential / north" into words; leaves the name of an account as it is. */
function nameOf(name) {
  return / \/ /.test(name) && name === name.toLowerCase() ? name.split(" / ").map(humanise).join(" · ") : name;
}

const AMOUNT = /^-?\d+(\.\d+)?$/;

function value(text) {
  if (text === null || text === undefined) return "–";
  return /^-?\d+\.\d+$/.test(text) ? money(text) : humanise(text);
}

function changeOf({ old, new: now }) {
  if (old === null || old === undefined) return "new";
  if (now === null || now === undefined) return "gone";
  if (!AMOUNT.test(old) || !AMOUNT.test(now)) return "changed";
  const difference = minus(now, old);
  const count = !old.includes(".") && !now.includes(".");
  const text = count ? String(Number(now) - Number(old)).replace("-", "−") : money(difference);
  return isZero(difference) || isNegative(difference) ? text : `+${text}`;
}
