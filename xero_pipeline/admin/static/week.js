// The figures of one week: profit and loss, revenue by type and region, bank accounts.

import { api } from "./api.js";
import { copyButton } from "./copy.js";
import { day, fillWeeks, moment, shiftWeek } from "./dates.js";
import { byId, el, icon, scrollable } from "./dom.js";
import { amountCell } from "./explain.js";
import { isZero, money, sum } from "./money.js";
import { periodSection } from "./period.js";
import { CATEGORIES, humanise } from "./labels.js";

const MEASURES = {
  netRevenue: "Net revenue",
  invoiced: "Invoiced",
  credited: "Credited",
  tax: "Tax",
  invoiceCount: "Invoices",
  creditNoteCount: "Credit notes",
};
// the key of a restatement in a table with one row a week
const WHOLE_WEEK = "week";
const COUNTS = new Set(["invoiceCount", "creditNoteCount"]);

export function weekFigures({ firstWeek, latestWeek, timezone, connected, explainer }) {
  let measure = "netRevenue";

  function render(figures, week) {
    const marks = new RestatementMarks(figures.restatements, timezone);
    const explain = (name, figure) => () => explainer.open(name, { week, tenantId: figures.tenantId, ...figure });
    const right = [revenue(figures, marks, explain, measure, (chosen) => { measure = chosen; }), cash(figures, marks, explain)];
    return [el("div", { class: "week-grid" }, profitAndLoss(figures, marks, explain), el("div", { class: "stacked" }, right))];
  }

  fillWeeks(byId("week-select"), firstWeek, latestWeek, (week) => `Week ending ${day(week)}`);
  return periodSection("week", {
    organisationId: "organisation",
    first: firstWeek,
    latest: latestWeek,
    shift: shiftWeek,
    fetch: api.week,
    span: spanOf,
    describe: ({ profitAndLoss: totals }) => (totals ? [`${totals.basis} basis`] : []),
    render,
    none: ["No week is over yet", "The first week since PIPELINE_START_DATE has not ended."],
    unread: () => [
      "This week has not been synced",
      connected() ? "Sync it to see its profit and loss, revenue and bank accounts." : "Its profit and loss, revenue and bank accounts will be shown here.",
    ],
  });
}

/** "Sunday 15/11/2026 to Saturday 21/11/2026". */
function spanOf(week) {
  const sunday = new Date(Date.parse(`${week}T00:00:00Z`) - 6 * 86400000).toISOString().slice(0, 10);
  return `Sunday ${day(sunday)} to Saturday ${day(week)}`;
}

/** Marks figures that changed after they had landed, with the value that the first sync read. */
class RestatementMarks {
  constructor(restatements, timezone) {
    this.timezone = timezone;
    this.changes = new Map();
    // The list is newest first: a later item is an older change, so the last old value is the first sync's.
    for (const restatement of restatements) {
      const key = this.key(restatement.table, restatement.key, restatement.column);
      const newer = this.changes.get(key);
      this.changes.set(key, { old: restatement.old, at: newer?.at ?? restatement.restatedAt });
    }
  }

  key(table, key, column) {
    return [table, key ?? "", this.snake(column)].join("|");
  }

  snake(name) {
    return String(name).replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  }

  /** The mark of one figure, or `null` if it has not changed. */
  of(table, key, column) {
    const change = this.changes.get(this.key(table, key, column));
    if (!change) return null;
    return el(
      "span",
      { class: "restated" },
      icon("restated"),
      el("span", {}, "restated"),
      el("span", { class: "restated-was" }, change.old === null ? ` new on ${moment(change.at, this.timezone)}` : ` was ${money(change.old)}, ${moment(change.at, this.timezone)}`),
    );
  }
}

// ---- profit and loss ------------------------------------------------------------------------------------

function profitAndLoss({ profitAndLoss: totals, lines, currency }, marks, explain) {
  if (!totals) return missing("Profit and loss");
  const rows = [];
  const group = (category, total, always) => {
    const own = lines.filter((line) => line.category === category).sort(byCode);
    if (own.length === 0 && !always && isZero(totals[total])) return;
    rows.push(
      el(
        "tbody",
        {},
        el("tr", { class: "group" }, el("th", { scope: "rowgroup", colspan: "2" }, CATEGORIES[category])),
        own.map((line) => lineRow(line, marks, explain)),
        totalRow(`Total ${CATEGORIES[category].toLowerCase()}`, totals, total, marks, explain, "subtotal"),
      ),
    );
  };
  group("trading_income", "totalTradingIncome", true);
  group("cost_of_sales", "costOfSales", true);
  rows.push(el("tbody", {}, totalRow("Gross profit", totals, "grossProfit", marks, explain, "total")));
  group("other_income", "otherIncome", false);
  group("operating_expenses", "operatingExpenses", true);
  rows.push(el("tbody", {}, totalRow("Net profit", totals, "netProfit", marks, explain, "grand")));
  return panel("Profit and loss", "pl", null, scrollable("Profit and loss, a table", el("table", { class: "figures ledger" }, head("Profit and loss", currency, "Account", [currency || "Amount"]), rows)));
}

/** Sorts as the chart of accounts does: by code, then the accounts without a code by name. */
function byCode(a, b) {
  const last = (line) => (line.accountCode ? 0 : 1);
  const text = (line) => line.accountCode ?? line.accountName;
  return last(a) - last(b) || text(a).localeCompare(text(b), "en", { numeric: true });
}

function lineRow(line, marks, explain) {
  const mark = marks.of("financial_weekly_lines", line.accountId, "amount");
  return el(
    "tr",
    {},
    el(
      "th",
      { scope: "row" },
      el("div", { class: "account" }, line.accountCode ? el("span", { class: "code" }, line.accountCode) : null, el("div", {}, line.accountName, mark)),
    ),
    amountCell(line.amount, explain(line.accountName, { account: line.accountId })),
  );
}

function totalRow(name, totals, key, marks, explain, kind) {
  return el("tr", { class: kind }, el("th", { scope: "row" }, name, marks.of("financial_weekly", WHOLE_WEEK, key)), amountCell(totals[key], explain(name, { total: marks.snake(key) })));
}

// ---- revenue --------------------------------------------------------------------------------------------

function revenue({ revenue: cells, currency }, marks, explain, measure, remember) {
  if (cells.length === 0) return missing("Revenue");
  const body = el("div", {});
  const chooser = el("select", { id: "measure", "aria-label": "Which figure of revenue" }, Object.entries(MEASURES).map(([value, text]) => new Option(text, value, false, value === measure)));
  const paint = () => {
    remember(chooser.value);
    body.replaceChildren(scrollable("Revenue by type and region, a table", revenueTable(cells, chooser.value, currency, marks, explain)));
  };
  chooser.addEventListener("change", paint);
  paint();
  return panel("Revenue by type and region", "rv", el("div", { class: "select" }, chooser, icon("chevron-down")), body);
}

function revenueTable(cells, measure, currency, marks, explain) {
  const order = (a, b) => (a === "unallocated") - (b === "unallocated") || a.localeCompare(b);
  const types = [...new Set(cells.map((cell) => cell.revenueType))].sort(order);
  const regions = [...new Set(cells.map((cell) => cell.region))].sort(order);
  const count = COUNTS.has(measure);
  const add = (chosen) => (count ? String(chosen.reduce((total, cell) => total + cell[measure], 0)) : sum(chosen.map((cell) => cell[measure])));
  const nameOf = (type, region) => [type, region].filter(Boolean).map(humanise).join(" · ") || "All revenue";
  const show = (value, type, region) => amountCell(count ? "0.00" : value, explain(nameOf(type, region), { type, region }), count ? String(value) : money(value));
  const row = (type) => {
    const own = cells.filter((cell) => cell.revenueType === type);
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, humanise(type)),
      regions.map((region) => {
        const cell = own.find((candidate) => candidate.region === region);
        return cell ? show(cell[measure], type, region) : el("td", { class: "amount nothing" }, "–");
      }),
      // counts are not added up: a document can be counted in several cells
      count ? null : show(add(own), type),
    );
  };
  return el(
    "table",
    { class: "figures ledger matrix" },
    head(`${MEASURES[measure]} by revenue type and region`, count ? "" : currency, "Type", [...regions.map(humanise), ...(count ? [] : ["Total"])]),
    el("tbody", {}, types.flatMap((type) => [row(type), marksRow(regions.map((region) => nameMark(marks.of("revenue_weekly", `${type} / ${region}`, measure), humanise(region))), regions.length + 2)])),
    count ? null : el("tfoot", {}, el("tr", { class: "grand" }, el("th", { scope: "row" }, "Total"), regions.map((region) => show(add(cells.filter((cell) => cell.region === region)), undefined, region)), amountCell(add(cells), explain(nameOf(), { total: "net_revenue" })))),
  );
}

/** Adds to a mark the name of the column that it belongs to. */
function nameMark(mark, column) {
  if (mark) mark.querySelector("span").textContent = `${column} restated`;
  return mark;
}

/** The row below a row with several figures, with their marks. */
function marksRow(marks, width) {
  const shown = marks.filter(Boolean);
  return shown.length > 0 ? el("tr", { class: "marks" }, el("td", { colspan: String(width) }, shown)) : "";
}

// ---- cash -----------------------------------------------------------------------------------------------

function cash({ cash: accounts, currency }, marks, explain) {
  if (accounts.length === 0) return missing("Bank accounts");
  const gains = accounts.some(({ currencyGain }) => !isZero(currencyGain));
  const columns = [
    ["openingBalance", "Opening"],
    ["cashReceived", "Received"],
    ["cashSpent", "Spent"],
    ...(gains ? [["currencyGain", "Currency gain"]] : []),
    ["closingBalance", "Closing"],
  ];
  const rows = accounts.flatMap((account) => [
    el("tr", {}, el("th", { scope: "row" }, account.bankAccountName), columns.map(([key]) => amountCell(account[key], explain(account.bankAccountName, { bank: account.bankAccountId })))),
    marksRow(columns.map(([key, name]) => nameMark(marks.of("cash_position_weekly", account.bankAccountId, key), name)), columns.length + 1),
  ]);
  const totals = el("tr", { class: "grand" }, el("th", { scope: "row" }, "Total"), columns.map(([key]) => amountCell(sum(accounts.map((account) => account[key])))));
  return panel(
    "Bank accounts", "ba", null,
    scrollable("Bank accounts, a table", el("table", { class: "figures ledger matrix" }, head("Bank accounts", currency, "Account", columns.map(([, name]) => name)), el("tbody", {}, rows), el("tfoot", {}, totals))),
  );
}

// ---- parts ----------------------------------------------------------------------------------------------

function panel(title, id, control, ...content) {
  return el("section", { class: "card table-card", "aria-labelledby": `${id}-title` }, el("div", { class: "card-head" }, el("h3", { id: `${id}-title` }, title), el("div", { class: "card-tools" }, control, copyButton(title))), ...content);
}

function missing(title) {
  return el("section", { class: "card table-card" }, el("div", { class: "card-head" }, el("h3", {}, title)), el("p", { class: "muted pad" }, "Not synced for this week."));
}

function head(caption, currency, first, columns) {
  return [
    el("caption", { class: "visually-hidden" }, `${caption}${currency ? ` in ${currency}` : ""}`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first), columns.map((name) => el("th", { scope: "col", class: "amount" }, name)))),
  ];
}
