// The week of several organisations in one table for each currency: amounts of different currencies are never added up.

import { copyButton } from "./copy.js";
import { el, scrollable } from "./dom.js";
import { amountCell } from "./explain.js";
import { sum } from "./money.js";

/** The choice that shows all organisations. No tenant id is like it. */
export const ALL = "*";

const FIGURES = [
  ["Income", (one) => one.profitAndLoss?.totalTradingIncome],
  ["Cost of sales", (one) => one.profitAndLoss?.costOfSales],
  ["Gross profit", (one) => one.profitAndLoss?.grossProfit, "subtotal"],
  ["Other income", (one) => one.profitAndLoss?.otherIncome],
  ["Operating expenses", (one) => one.profitAndLoss?.operatingExpenses],
  ["Net profit", (one) => one.profitAndLoss?.netProfit, "grand"],
  ["Net revenue", (one) => total(one.revenue.map((cell) => cell.netRevenue))],
  ["Cash", (one) => total(one.cash.map((account) => account.closingBalance))],
];

/** Offers the organisations to choose from, and all of them side by side. The earlier choice stays if it is offered. */
export function fillOrganisations(picker, organisations, chosen) {
  const names = organisations.map((one) => [one.tenantName ?? one.tenantId, one.tenantId]);
  if (organisations.length > 1) names.push(["All, side by side", ALL]);
  picker.replaceChildren(...names.map(([name, value]) => new Option(name, value, false, value === chosen)));
}

/** A card for each currency, the one of most organisations first. */
export function sideBySide(organisations) {
  const currencies = [...new Set(organisations.map(({ currency }) => currency))];
  const groups = currencies.map((currency) => organisations.filter((one) => one.currency === currency));
  return groups.sort((a, b) => b.length - a.length).map(card);
}

function card(organisations) {
  const { currency } = organisations[0];
  const title = `All organisations in ${currency}`;
  const together = organisations.length > 1;
  const columns = [...organisations.map((one) => one.tenantName ?? one.tenantId), ...(together ? ["Together"] : [])];
  const rows = FIGURES.map(([name, read, kind]) => {
    const amounts = organisations.map(read);
    return el("tr", { class: kind }, el("th", { scope: "row" }, name), amounts.map((amount) => amountCell(amount)), together ? amountCell(total(amounts)) : null);
  });
  const table = el(
    "table",
    { class: "figures ledger matrix" },
    el("caption", { class: "visually-hidden" }, title),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, currency), columns.map((name) => el("th", { scope: "col", class: "amount" }, name)))),
    el("tbody", {}, rows),
  );
  return el("section", { class: "card table-card", "aria-label": title }, el("div", { class: "card-head" }, el("h3", {}, title), copyButton(title)), scrollable(`${title}, a table`, table));
}

/** The exact sum; unknown (null) if an amount is unknown, since a part would pass for the whole. */
function total(amounts) {
  const known = amounts.every((amount) => amount !== null && amount !== undefined);
  return known && amounts.length > 0 ? sum(amounts) : null;
}
