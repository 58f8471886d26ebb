// The latest week's figures and the charts of the last weeks. Chart.js draws the charts; beside each stand a
// description in words and a table that can be opened.

import { api } from "./api.js";
import { day, plural, shiftWeek, shortDay, weeksBetween } from "./dates.js";
import { byId, el, icon, scrollable } from "./dom.js";
import { approximately, cents, isNegative, isZero, minus, money, short, sum } from "./money.js";
import { section, jumpButton } from "./section.js";
import { humanise } from "./labels.js";

const WEEKS = 26;
const COLOURS = 6;

export function trends({ onNewest, onPick, connected, may }) {
  const view = section("trends");
  const charts = [];
  let data = null;
  let lastRequest = 0;
  let currency = null;
  const picker = byId("currency");
  picker.addEventListener("change", () => {
    currency = picker.value;
    load();
  });

  async function load() {
    lastRequest += 1;
    const request = lastRequest;
    view.busy();
    try {
      const summary = await api.summary(WEEKS, currency);
      if (request !== lastRequest) return;
      data = { currency: summary.currency ?? "", weeks: fillGaps(summary.weeks ?? []) };
      fillCurrencies(summary.currencies ?? []);
      paint();
      onNewest(newest(data.weeks)?.weekEnding ?? null);
    } catch (error) {
      if (request === lastRequest) view.fail(error, load);
    }
  }

  /** Offers the currencies to choose from: amounts of different currencies are never added up. */
  function fillCurrencies(currencies) {
    byId("currency-picker").hidden = currencies.length < 2;
    picker.replaceChildren(...currencies.map((code) => new Option(code, code, false, code === data.currency)));
  }

  /** The button to what brings figures, if the visitor's role allows it. */
  function nextStep() {
    if (connected()) return may.operate ? jumpButton("sync-button", "Choose a week to sync") : null;
    return may.own ? jumpButton("connect", "Go to the connection") : null;
  }

  function paint() {
    for (const chart of charts.splice(0)) chart.destroy();
    if (!newest(data.weeks)) {
      view.empty(
        "No figures yet",
        connected() ? "Sync the latest week to see its figures here; turn the scheduler on and the earlier weeks follow by themselves." : "Connect to Xero first; then the figures of each week gather here.",
        { action: nextStep(), picture: "chart" },
      );
      return;
    }
    const organisationCount = Math.max(...data.weeks.map(({ organisations }) => organisations ?? 0));
    byId("trends-lede").textContent = [
      `${plural(data.weeks.length, "week")} to ${day(data.weeks.at(-1).weekEnding)}`,
      data.currency ? `in ${data.currency}` : null,
      organisationCount > 1 ? `${organisationCount} organisations together` : null,
    ].filter(Boolean).join(", ");
    view.show();
    byId("kpis").replaceChildren(...kpis(data));
    const specs = [earnings(data), revenue(data), cash(data)];
    const figures = specs.map((spec) => figure(spec, data));
    byId("charts").replaceChildren(...figures);
    specs.forEach((spec, index) => draw(figures[index].querySelector("canvas"), spec));
  }

  function draw(canvas, spec) {
    if (!window.Chart) {
      canvas.parentElement.replaceWith(el("p", { class: "muted" }, "The chart could not be drawn; the table below has its figures."));
      return;
    }
    charts.push(new window.Chart(canvas, configuration(spec, data, onPick)));
  }

  // A chart reads its colours from the style sheet when it is drawn, so a change of scheme draws all charts again.
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && !view.body.hidden && paint());

  return { load };
}

/** Adds the missing weeks between the first and the last, so that a chart shows them as gaps. */
function fillGaps(weeks) {
  if (weeks.length === 0) return [];
  const byEnding = new Map(weeks.map((week) => [week.weekEnding, week]));
  const endings = [...byEnding.keys()].sort();
  const count = Math.min(weeksBetween(endings[0], endings.at(-1)), 520);
  return Array.from({ length: count + 1 }, (_, index) => {
    const weekEnding = shiftWeek(endings[0], index);
    return byEnding.get(weekEnding) ?? { weekEnding };
  });
}

function newest(weeks) {
  return weeks.findLast((week) => ["totalTradingIncome", "netRevenue", "closingCash"].some((name) => isKnown(week[name])));
}

function isKnown(amount) {
  return amount !== null && amount !== undefined;
}

function kpis({ weeks, currency }) {
  const latest = newest(weeks);
  const before = weeks[weeks.indexOf(latest) - 1];
  const shown = [
    ["Trading income", "totalTradingIncome"],
    ["Gross profit", "grossProfit"],
    ["Net profit", "netProfit"],
    ["Closing cash", "closingCash"],
  ];
  return shown.map(([name, key]) =>
    el(
      "div",
      { class: "kpi" },
      el("dt", {}, name, el("span", { class: "kpi-week" }, ` week ending ${day(latest.weekEnding)}`)),
      el(
        "dd",
        {},
        el("span", { class: `kpi-value ${isNegative(latest[key]) ? "negative" : ""}` }, money(latest[key]), currency ? el("span", { class: "kpi-currency" }, ` ${currency}`) : null),
        change(latest[key], before?.[key]),
      ),
    ),
  );
}

function change(now, before) {
  if (!isKnown(now) || !isKnown(before)) return el("span", { class: "kpi-change" }, "no week before to compare");
  const difference = minus(now, before);
  const direction = isZero(difference) ? "same" : isNegative(difference) ? "down" : "up";
  const size = difference.replace("-", "");
  const word = { up: "up", down: "down", same: "unchanged" }[direction];
  return el(
    "span",
    { class: `kpi-change kpi-${direction}` },
    icon(direction),
    el("span", { class: "visually-hidden" }, `${word} by `),
    `${money(size)} on the week before`,
  );
}

// ---- the content of each chart ----------------------------------------------------------------------------

function earnings({ weeks }) {
  return {
    id: "earnings",
    wide: true,
    title: "Income and net profit",
    type: "bar",
    series: [
      { name: "Trading income", colour: "income", values: weeks.map((week) => week.totalTradingIncome) },
      { name: "Net profit", colour: "profit", line: true, values: weeks.map((week) => week.netProfit) },
    ],
    descriptions: [extremes("Trading income", weeks, "totalTradingIncome"), extremes("net profit", weeks, "netProfit")],
  };
}

function revenue({ weeks }) {
  const totals = new Map();
  for (const week of weeks) {
    for (const [type, amount] of Object.entries(week.revenueByType ?? {})) {
      totals.set(type, (totals.get(type) ?? 0n) + cents(amount));
    }
  }
  const rank = (type) => (type === "unallocated" ? 1 : 0);
  const types = [...totals.keys()].sort((a, b) => rank(a) - rank(b) || (totals.get(b) > totals.get(a) ? 1 : -1));
  const shownTypes = types.length > COLOURS ? types.slice(0, COLOURS - 1) : types;
  const otherTypes = types.slice(shownTypes.length);
  const addUp = (week, names) => (week.revenueByType ? sum(names.map((name) => week.revenueByType[name] ?? "0")) : null);
  const series = shownTypes.map((type, index) => ({ name: humanise(type), colour: type === "unallocated" ? `series-${COLOURS}` : `series-${index + 1}`, values: weeks.map((week) => addUp(week, [type])) }));
  if (otherTypes.length > 0) series.push({ name: "Other types", colour: `series-${COLOURS}`, values: weeks.map((week) => addUp(week, otherTypes)) });
  const latest = weeks.findLast((week) => week.revenueByType);
  return {
    id: "revenue",
    title: "Revenue by type",
    type: "bar",
    stacked: true,
    series,
    descriptions: latest
      ? [`In the week ending ${day(latest.weekEnding)}: ${types.map((type) => `${humanise(type).toLowerCase()} ${money(latest.revenueByType[type] ?? "0")}`).join(", ")}`]
      : ["There is no revenue for these weeks"],
  };
}

function cash({ weeks }) {
  return {
    id: "cash",
    title: "Closing cash",
    type: "line",
    series: [{ name: "Closing cash", colour: "cash", line: true, area: true, values: weeks.map((week) => week.closingCash) }],
    descriptions: [extremes("Closing cash", weeks, "closingCash")],
  };
}

function extremes(name, weeks, key) {
  const sorted = weeks.filter((week) => isKnown(week[key])).sort((a, b) => (cents(a[key]) < cents(b[key]) ? -1 : 1));
  if (sorted.length === 0) return `${name} is not known for these weeks`;
  const [low, high] = [sorted[0], sorted.at(-1)];
  return `${name} was lowest in the week ending ${day(low.weekEnding)} (${money(low[key])}) and highest in that ending ${day(high.weekEnding)} (${money(high[key])})`;
}

// ---- a chart on the page --------------------------------------------------------------------------------

function figure(spec, { weeks, currency }) {
  const description = `${spec.descriptions.join("; ")}.`;
  return el(
    "figure",
    { class: `card chart-card ${spec.wide ? "wide" : ""}`, "aria-labelledby": `${spec.id}-title` },
    el(
      "div",
      { class: "chart-head" },
      el("h3", { id: `${spec.id}-title` }, spec.title),
      spec.series.length > 1
        ? el("ul", { class: "legend" }, spec.series.map(({ name, colour, line }) => el("li", {}, el("span", { class: `swatch ${line ? "swatch-line" : ""} colour-${colour}`, "aria-hidden": "true" }), name)))
        : null,
    ),
    el("div", { class: "chart" }, el("canvas", { role: "img", "aria-label": `Chart: ${spec.title}. ${description}` })),
    el("figcaption", { class: "chart-words", "aria-hidden": "true" }, description),
    el(
      "details",
      { class: "as-table" },
      el("summary", {}, "Show as table", el("span", { class: "visually-hidden" }, `: ${spec.title}`)),
      scrollable(`${spec.title}, a table`, chartTable(spec, weeks, currency)),
    ),
  );
}

function chartTable({ title, series }, weeks, currency) {
  return el(
    "table",
    { class: "figures" },
    el("caption", { class: "visually-hidden" }, `${title}${currency ? ` in ${currency}` : ""}, newest week first`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Week ending"), series.map(({ name }) => el("th", { scope: "col", class: "amount" }, name)))),
    el(
      "tbody",
      {},
      weeks
        .map((week, index) => el("tr", {}, el("th", { scope: "row" }, day(week.weekEnding)), series.map(({ values }) => el("td", { class: "amount" }, money(values[index])))))
        .reverse(),
    ),
  );
}

function configuration(spec, { weeks, currency }, onPick) {
  const style = window.getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const font = { family: window.getComputedStyle(document.body).fontFamily, size: 11.5 };
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  return {
    type: spec.type,
    data: { labels: weeks.map((week) => week.weekEnding), datasets: spec.series.map((series) => dataset(series, spec, colour)) },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      animation: reducedMotion ? false : { duration: 350 },
      interaction: { mode: "index", intersect: false },
      onClick: (_, hits) => hits.length > 0 && onPick(weeks[hits[0].index].weekEnding),
      layout: { padding: { top: 4 } },
      scales: {
        x: {
          stacked: Boolean(spec.stacked),
          grid: { display: false },
          border: { color: colour("line-strong") },
          ticks: { color: colour("text-2"), font, maxRotation: 0, autoSkipPadding: 14, callback: (_, index) => shortDay(weeks[index].weekEnding) },
        },
        y: {
          beginAtZero: true,
          stacked: Boolean(spec.stacked),
          border: { display: false },
          grid: { color: colour("line"), drawTicks: false },
          ticks: { color: colour("text-2"), font, padding: 8, maxTicksLimit: 6, callback: short },
        },
      },
      plugins: {
        legend: { display: false },
        tooltip: {
          backgroundColor: colour("tooltip"),
          titleColor: colour("on-tooltip"),
          bodyColor: colour("on-tooltip"),
          titleFont: { ...font, weight: 600 },
          bodyFont: { ...font, size: 12.5 },
          padding: 10,
          cornerRadius: 6,
          boxPadding: 4,
          usePointStyle: true,
          callbacks: {
            title: ([item]) => `Week ending ${day(weeks[item.dataIndex].weekEnding)}`,
            // the exact figure, not the number that was drawn
            label: (item) => ` ${item.dataset.label}: ${money(spec.series[item.datasetIndex].values[item.dataIndex])} ${currency}`,
          },
        },
      },
    },
  };
}

function dataset({ name, colour: colourName, line, area, values }, spec, colour) {
  const paint = colour(colourName);
  const common = { label: name, data: values.map(approximately), order: line ? 0 : 1 };
  if (line) {
    return {
      ...common, type: "line", borderColor: paint, backgroundColor: area ? colour(`${colourName}-area`) : paint, borderWidth: 2.25, fill: area ? "origin" : false,
      // straight lines: a curve would suggest values between two weeks
      tension: 0, pointRadius: 0, pointHoverRadius: 4, pointBackgroundColor: paint, pointStyle: "circle", spanGaps: false,
    };
  }
  return {
    ...common, type: "bar", backgroundColor: paint, borderRadius: spec.stacked ? 0 : 3, borderColor: colour("surface"), maxBarThickness: 40, pointStyle: "rectRounded",
    borderWidth: spec.stacked ? { top: 1 } : 0, categoryPercentage: 0.82, barPercentage: 0.92,
  };
}
