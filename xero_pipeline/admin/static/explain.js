// The dialog that shows what a figure is made of: its parts, its documents with links into Xero, its other weeks, and
// how it changed. Every figure of the week is a button that opens it.

import { api } from "./api.js";
import { day, moment, plural } from "./dates.js";
import { byId, el, externalLink, icon, scrollable } from "./dom.js";
import { isNegative, money } from "./money.js";
import { humanise } from "./labels.js";

const AMOUNT = /^-?\d+\.\d\d$/;

export function figureExplainer({ timezone }) {
  const dialog = byId("explain");
  const title = byId("explain-title");
  const lede = byId("explain-lede");
  const body = byId("explain-body");
  const back = byId("explain-back");
  let trail = [];
  let lastRequest = 0;

  byId("explain-close").addEventListener("click", () => dialog.close());
  back.addEventListener("click", () => {
    trail.pop();
    load();
  });
  // a click beside the dialog closes it
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

  /** Opens the dialog. `figure` names it as the API does: `week`, `tenantId`, and `total`, `account`, `bank`, or `type` and `region`. */
  function open(name, figure) {
    trail = [{ name, figure }];
    if (!dialog.open) dialog.showModal();
    load();
  }

  function goOn(name, figure) {
    trail.push({ name, figure });
    load();
  }

  async function load() {
    lastRequest += 1;
    const request = lastRequest;
    const { name, figure } = trail[trail.length - 1];
    back.hidden = trail.length < 2;
    title.textContent = name;
    lede.textContent = `Week ending ${day(figure.week)}`;
    body.setAttribute("aria-busy", "true");
    body.replaceChildren(el("p", { class: "muted" }, "Loading…"));
    title.focus();
    try {
      const [explanation] = await api.explain(figure);
      if (request !== lastRequest) return;
      if (explanation) paint(explanation, figure);
      else body.replaceChildren(el("p", { class: "muted" }, "The week no longer has this figure. Load the page again."));
    } catch (error) {
      if (request !== lastRequest) return;
      body.replaceChildren(
        el("div", { class: "notice notice-error", role: "alert" }, icon("cross-circle"), el("div", {}, el("p", {}, error.message), el("button", { type: "button", class: "button small", onclick: load }, "Try again"))),
      );
    }
    body.removeAttribute("aria-busy");
  }

  function paint(explanation, figure) {
    const share = explanation.share === null ? null : `${explanation.share} % of its total`;
    lede.textContent = [explanation.tenantName, `week ending ${day(figure.week)}`, `in ${explanation.currency}`, share].filter(Boolean).join(" · ");
    body.replaceChildren(
      el("p", { class: `explain-amount ${isNegative(explanation.amount) ? "negative" : ""}` }, el("span", { class: "muted" }, `${humanise(explanation.figure)} `), money(explanation.amount)),
      ...figures(explanation),
      ...(explanation.note ? [el("p", { class: "notice notice-warn" }, explanation.note)] : []),
      ...history(explanation),
      ...parts(explanation, figure),
      ...documents(explanation),
      ...weeks(explanation),
    );
  }

  // ---- the parts of the dialog ----------------------------------------------------------------------------

  function figures({ kind, figures: values }) {
    if (kind !== "revenue") return [];
    return [el("dl", { class: "explain-figures" }, Object.entries(values).map(([name, value]) => el("div", {}, el("dt", {}, humanise(name)), el("dd", {}, shown(String(value))))))];
  }

  function history({ history: entries, kind }) {
    if (entries.length === 0) return [];
    // one sync changes several figures of a row, because of the same documents
    const syncs = new Map();
    for (const entry of entries) {
      const key = `${entry.restatedAt} ${entry.dagsterRunId}`;
      if (!syncs.has(key)) syncs.set(key, []);
      syncs.get(key).push(entry);
    }
    return [
      block(
        "Restated",
        el("ol", { class: "explain-history" }, [...syncs.values()].map((changes) => {
          const [{ restatedAt, runUrl }] = changes;
          // a document that is in several of the row's figures is one change
          const changed = new Map(changes.flatMap((entry) => entry.documents).map((change) => [[change.documentId, change.accountCode, change.revenueType, change.region].join(), change]));
          return el(
            "li",
            {},
            el("p", { class: "muted" }, moment(restatedAt, timezone), runUrl ? [" · ", externalLink(runUrl, "the run in Dagster")] : null),
            changes.map((entry) => el("p", {}, `${humanise(entry.column)}: `, was(entry.old), " → ", now(entry.new))),
            changed.size > 0 ? el("ul", { class: "explain-changes" }, [...changed.values()].map((change) => el("li", {}, describe(change, kind)))) : null,
          );
        })),
      ),
    ];
  }

  function describe(change, kind) {
    const name = change.documentNumber ?? change.documentId;
    const other = change.otherWeekEnding ? day(change.otherWeekEnding) : null;
    const why = change.oldNet === null ? (other ? `moved here from the week ending ${other}` : "new in this week") : change.newNet === null ? (other ? `moved to the week ending ${other}` : "no longer counted") : null;
    const where = kind === "revenue" ? null : `${humanise(change.revenueType)} · ${humanise(change.region)}`;
    return [
      externalLink(change.xeroUrl, name, `${name}, open in Xero`) ?? el("strong", {}, name),
      ` ${[change.documentType === "credit_note" ? "credit note" : null, change.contactName, where].filter(Boolean).join(", ")}: `,
      was(change.oldNet),
      " → ",
      now(change.newNet),
      why ? el("span", { class: "muted" }, ` (${why})`) : null,
    ];
  }

  function parts({ parts: rows, kind }, figure) {
    if (rows.length === 0) return [];
    return [
      block(
        "Made of",
        scrollable("What it is made of, a table", el(
          "table",
          { class: "figures" },
          caption("What the figure is made of"),
          el("tbody", {}, rows.map((part) => el(
            "tr",
            {},
            el("th", { scope: "row" }, part.name, part.note ? el("span", { class: "muted explain-note" }, part.note) : null),
            part.key ? amountCell(part.amount, () => goOn(part.name, nextFigure(part, kind, figure))) : amountCell(part.amount),
          ))),
        )),
      ),
    ];
  }

  function documents({ documents: rows, documentCount: count, currency }) {
    if (rows.length === 0) return [];
    const columns = [["Number"], ["Contact"], ["Date"], [`Net, ${currency}`, "amount"], ["Tax", "amount"]];
    const cell = (name, kind, ...content) => el("td", { role: "cell", "data-label": name, class: kind }, ...content);
    return [
      block(
        `${plural(count, "document")}`,
        el(
          "table",
          { class: "log explain-documents", role: "table" },
          caption("Invoices and credit notes, what adds most first"),
          el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(([name, kind]) => el("th", { scope: "col", role: "columnheader", class: kind }, name)))),
          el("tbody", { role: "rowgroup" }, rows.map((row) => {
            const name = row.documentNumber ?? row.documentId;
            const foreign = row.documentCurrency === currency ? null : el("span", { class: "muted explain-note" }, `${row.documentCurrency} ${money(row.documentNet)}`);
            return el(
              "tr",
              { role: "row" },
              cell("Number", null, externalLink(row.xeroUrl, name, `${name}, open in Xero`) ?? name, row.documentType === "credit_note" ? el("span", { class: "muted explain-note" }, "credit note") : null),
              cell("Contact", null, row.contactName ?? el("span", { class: "muted" }, "–")),
              cell("Date", null, day(row.documentDate)),
              cell("Net", `amount ${isNegative(row.adds) ? "negative" : ""}`, money(row.adds), foreign),
              cell("Tax", "amount", money(row.tax)),
            );
          })),
        ),
        count > rows.length ? el("p", { class: "muted pad-top" }, `The ${rows.length} that add most are shown. “xero-pipeline explain --json” lists all ${count}.`) : null,
      ),
    ];
  }

  function weeks({ weeks: rows, kind, name }) {
    if (rows.length < 2) return [];
    const shares = kind === "account";
    return [
      block(
        "Week by week",
        scrollable(`${name} week by week, a table`, el(
          "table",
          { class: "figures" },
          caption("The same figure in other weeks"),
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Week ending"), el("th", { scope: "col", class: "amount" }, "Amount"), shares ? el("th", { scope: "col", class: "amount" }, "Share") : null)),
          el("tbody", {}, rows.toReversed().map((row) => el("tr", {}, el("th", { scope: "row" }, day(row.weekEnding)), amountCell(row.amount), shares ? el("td", { class: "amount" }, row.share === null ? "–" : `${row.share} %`) : null))),
        )),
      ),
    ];
  }

  return { open };
}

/** The figure that explains a part: a total's account, or another total. */
function nextFigure(part, kind, { week, tenantId }) {
  const total = kind === "total" && /^[a-z_]+$/.test(part.key);
  return { week, tenantId, ...(total ? { total: part.key } : { account: part.key }) };
}

/** The figure of a restatement, as the API names it; `null` where it is none that can be explained. */
export function restatedFigure({ table, key, column, weekEnding, tenantId }) {
  const where = { week: weekEnding, tenantId };
  if (table === "financial_weekly") return { ...where, total: column };
  if (table === "financial_weekly_lines") return { ...where, account: key };
  if (table === "cash_position_weekly") return { ...where, bank: key };
  if (table !== "revenue_weekly") return null;
  const [type, region] = key.split(" / ");
  return { ...where, type, region };
}

/** A table cell with an amount; with `onclick`, the amount is a button. */
export function amountCell(value, onclick = null, text = money(value)) {
  const negative = isNegative(value) ? "negative" : "";
  return el("td", { class: `amount ${negative}` }, onclick ? el("button", { type: "button", class: "figure", "aria-haspopup": "dialog", onclick }, text) : text);
}

function block(name, ...content) {
  return el("section", { class: "explain-block" }, el("h3", {}, name), ...content);
}

function caption(text) {
  return el("caption", { class: "visually-hidden" }, text);
}

function was(value) {
  return el("span", { class: "explain-old" }, value === null ? "nothing" : shown(value));
}

function now(value) {
  return el("strong", {}, value === null ? "nothing" : shown(value));
}

function shown(value) {
  return AMOUNT.test(value) ? money(value) : value;
}
