// The figures of one month, beside the month before, last year and the year to date; and the switch between weeks and months.

import { api } from "./api.js";
import { copyButton } from "./copy.js";
import { day } from "./dates.js";
import { byId, el, scrollable } from "./dom.js";
import { amountCell } from "./explain.js";
import { CATEGORIES, humanise } from "./labels.js";
import { sum } from "./money.js";
import { periodSection } from "./period.js";

const MEASURES = {
  totalTradingIncome: "Trading income",
  costOfSales: "Cost of sales",
  grossProfit: "Gross profit",
  netProfit: "Net profit",
  netRevenue: "Net revenue from documents",
  closingCash: "Closing cash",
};
const MONTH_NAME = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });

/** Shows the section of the weeks or that of the months. `onMonth` is called when the months are shown. */
export function grainSwitch({ onMonth }) {
  const buttons = { week: byId("show-weeks"), month: byId("show-months") };

  function show(grain) {
    for (const [name, button] of Object.entries(buttons)) {
      button.setAttribute("aria-pressed", String(name === grain));
      byId(name).hidden = name !== grain;
    }
    if (grain === "month") onMonth();
  }

  for (const [name, button] of Object.entries(buttons)) button.addEventListener("click", () => show(name));
  return { show };
}

export function monthFigures({ firstMonth, latestMonth, connected }) {
  fillMonths(byId("month-select"), firstMonth, latestMonth);
  return periodSection("month", {
    organisationId: "month-organisation",
    first: firstMonth,
    latest: latestMonth,
    shift: shiftMonth,
    fetch: api.month,
    span: spanOf,
    describe: () => [],
    render: (figures, month) => [
      comparison(figures, month),
      el("div", { class: "week-grid" }, profitAndLoss(figures), el("div", { class: "stacked" }, revenue(figures), cash(figures))),
    ],
    none: ["No month is over yet", "The first month since PIPELINE_START_DATE has not ended."],
    unread: () => [
      "This month has not been read",
      connected() ? "The scheduler reads a month when its weeks have been read. So does “xero-pipeline sync --months 12”." : "Its profit and loss and bank accounts will be shown here.",
    ],
  });
}

/** "2026-11-30" and -1 → "2026-10-31". */
function shiftMonth(ending, months) {
  const [year, month] = ending.split("-").map(Number);
  return new Date(Date.UTC(year, month + months, 0)).toISOString().slice(0, 10);
}

function fillMonths(select, first, latest) {
  let group = null;
  for (let month = latest; month && month >= first; month = shiftMonth(month, -1)) {
    const year = month.slice(0, 4);
    if (!group || group.label !== year) {
      group = el("optgroup", { label: year });
      select.append(group);
    }
    group.append(new Option(nameOf(month), month));
  }
}

function nameOf(month) {
  return MONTH_NAME.format(new Date(`${month}T00:00:00Z`));
}

function spanOf(month) {
  return `${day(`${month.slice(0, 8)}01`)} to ${day(month)}`;
}

function comparison({ comparison: compared, currency }, month) {
  const year = compared.financialYear === null ? "Year to date" : `Year to date (${compared.financialYear})`;
  const columns = [
    [nameOf(month), compared.month],
    [nameOf(shiftMonth(month, -1)), compared.monthBefore],
    [nameOf(shiftMonth(month, -12)), compared.lastYear],
    [year, compared.yearToDate],
    ["Year to date, last year", compared.yearToDateLastYear],
  ];
  const rows = Object.entries(MEASURES).map(([key, name]) =>
    el("tr", {}, el("th", { scope: "row" }, name), columns.map(([, amounts]) => known(amounts[key]))),
  );
  return card("Compared", "month-compared", table("Compared", currency, "Figure", columns.map(([name]) => name), el("tbody", {}, rows)));
}

function profitAndLoss({ profitAndLoss: totals, lines, currency }) {
  if (!totals) return card("Profit and loss", "month-pl", el("p", { class: "muted pad" }, "Not read for this month."));
  const group = (category, total) => {
    const own = lines.filter((line) => line.category === category);
    return el(
      "tbody",
      {},
      el("tr", { class: "group" }, el("th", { scope: "rowgroup", colspan: "2" }, CATEGORIES[category])),
      own.map((line) => el("tr", {}, el("th", { scope: "row" }, el("div", { class: "account" }, line.accountCode ? el("span", { class: "code" }, line.accountCode) : null, el("div", {}, line.accountName))), amountCell(line.amount))),
      row(`Total ${CATEGORIES[category].toLowerCase()}`, totals[total], "subtotal"),
    );
  };
  return card("Profit and loss", "month-pl", table(
    "Profit and loss of the month", currency, "Account", [currency || "Amount"],
    group("trading_income", "totalTradingIncome"),
    group("cost_of_sales", "costOfSales"),
    el("tbody", {}, row("Gross profit", totals.grossProfit, "total")),
    group("other_income", "otherIncome"),
    group("operating_expenses", "operatingExpenses"),
    el("tbody", {}, row("Net profit", totals.netProfit, "grand")),
  ));
}

function revenue({ revenue: cells, currency }) {
  if (cells.length === 0) return card("Revenue", "month-rv", el("p", { class: "muted pad" }, "Known when every week with a day in this month has been read."));
  const rows = cells.map((cell) => el("tr", {}, el("th", { scope: "row" }, `${humanise(cell.revenueType)} · ${humanise(cell.region)}`), amountCell(cell.invoiced), amountCell(cell.credited), amountCell(cell.netRevenue)));
  const total = el("tr", { class: "grand" }, el("th", { scope: "row" }, "Total"), ["invoiced", "credited", "netRevenue"].map((key) => amountCell(sum(cells.map((cell) => cell[key])))));
  return card("Revenue by type and region", "month-rv", table("Revenue of the month", currency, "Type and region", ["Invoiced", "Credited", "Net"], el("tbody", {}, rows), el("tfoot", {}, total)));
}

function cash({ cash: accounts, currency }) {
  if (accounts.length === 0) return card("Bank accounts", "month-ba", el("p", { class: "muted pad" }, "No bank account in this month."));
  const columns = { openingBalance: "Opening", cashReceived: "Received", cashSpent: "Spent", currencyGain: "Currency gain", closingBalance: "Closing" };
  const rows = accounts.map((account) => el("tr", {}, el("th", { scope: "row" }, account.bankAccountName), Object.keys(columns).map((key) => amountCell(account[key]))));
  return card("Bank accounts", "month-ba", table("Bank accounts of the month", currency, "Account", Object.values(columns), el("tbody", {}, rows)));
}

/** An amount, or a dash for one that is not known. */
function known(value) {
  return value === null ? el("td", { class: "amount nothing" }, "–") : amountCell(value);
}

function row(name, value, kind) {
  return el("tr", { class: kind }, el("th", { scope: "row" }, name), amountCell(value));
}

function card(title, id, ...content) {
  const tools = content.some((one) => one.querySelector("table")) ? copyButton(title) : null;
  return el("section", { class: "card table-card", "aria-labelledby": `${id}-title` }, el("div", { class: "card-head" }, el("h3", { id: `${id}-title` }, title), tools), ...content);
}

function table(caption, currency, first, columns, ...bodies) {
  return scrollable(
    `${caption}, a table`,
    el(
      "table",
      { class: `figures ledger ${columns.length > 1 ? "matrix" : ""}` },
      el("caption", { class: "visually-hidden" }, `${caption}${currency ? ` in ${currency}` : ""}`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, first), columns.map((name) => el("th", { scope: "col", class: "amount" }, name)))),
      ...bodies,
    ),
  );
}
