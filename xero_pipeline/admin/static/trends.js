// The latest week's figures, and the charts of the last weeks. A chart is drawn by Chart.js; what it says stands
// beside it in words and, to be opened, as a table.

import { api } from "./api.js";
import { day, plural, shiftWeek, shortDay, weeksBetween } from "./dates.js";
import { byId, el, icon, scrollable } from "./dom.js";
import { approximately, cents, isNegative, isZero, minus, money, short, sum } from "./money.js";
import { section, towards } from "./section.js";
import { humanise } from "./words.js";

const WEEKS = 26;
const COLOURS = 6;

export function trends({ onNewest, onPick, connected }) {
  const place = section("trends");
  const charts = [];
  let held = null;
  let asked = 0;
  let currency = null;
  const picker = byId("currency");
  picker.addEventListener("change", () => {
    currency = picker.value;
    load();
  });

  async function load() {
    asked += 1;
    const mine = asked;
    place.busy();
    try {
      const summary = await api.summary(WEEKS, currency);
      if (mine !== asked) return;
      held = { currency: summary.currency ?? "", weeks: withoutGaps(summary.weeks ?? []) };
      offer(summary.currencies ?? []);
      paint();
      onNewest(newest(held.weeks)?.weekEnding ?? null);
    } catch (error) {
      if (mine === asked) place.fail(error, load);
    }
  }

  /** Amounts of different currencies are never added up: a person chooses which to see. */
  function offer(currencies) {
    byId("currency-picker").hidden = currencies.length < 2;
    picker.replaceChildren(...currencies.map((one) => new Option(one, one, false, one === held.currency)));
  }

  function paint() {
    for (const chart of charts.splice(0)) chart.destroy();
    if (!newest(held.weeks)) {
      place.empty(
        "No figures yet",
        connected() ? "Sync the latest week to see its figures here; turn the scheduler on and the earlier weeks follow by themselves." : "Connect to Xero first; then the figures of each week gather here.",
        { action: connected() ? towards("sync-button", "Choose a week to sync") : towards("connect", "Go to the connection"), picture: "chart" },
      );
      return;
    }
    const together = Math.max(...held.weeks.map(({ organisations }) => organisations ?? 0));
    byId("trends-lede").textContent = [
      `${plural(held.weeks.length, "week")} to ${day(held.weeks.at(-1).weekEnding)}`,
      held.currency ? `in ${held.currency}` : null,
      together > 1 ? `${together} organisations together` : null,
    ].filter(Boolean).join(", ");
    place.show();
    byId("kpis").replaceChildren(...kpis(held));
    const specs = [earnings(held), revenue(held), cash(held)];
    const figures = specs.map((spec) => figure(spec, held));
    byId("charts").replaceChildren(...figures);
    specs.forEach((spec, index) => draw(figures[index].querySelector("canvas"), spec));
  }

  function draw(canvas, spec) {
    if (!window.Chart) {
      canvas.parentElement.replaceWith(el("p", { class: "muted" }, "The chart could not be drawn; the table below has its figures."));
      return;
    }
    charts.push(new window.Chart(canvas, configuration(spec, held, onPick)));
  }

  // Colours are read from the style sheet when a chart is drawn, so a change of scheme draws anew.
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => held && !place.body.hidden && paint());

  return { load };
}

/** Every week between the first and the last that are held, so that a gap is seen as one. */
function withoutGaps(weeks) {
  if (weeks.length === 0) return [];
  const known = new Map(weeks.map((week) => [week.weekEnding, week]));
  const endings = [...known.keys()].sort();
  const count = Math.min(weeksBetween(endings[0], endings.at(-1)), 520);
  return Array.from({ length: count + 1 }, (_, index) => {
    const weekEnding = shiftWeek(endings[0], index);
    return known.get(weekEnding) ?? { weekEnding };
  });
}

function newest(weeks) {
  return weeks.findLast((week) => ["totalTradingIncome", "netRevenue", "closingCash"].some((name) => known(week[name])));
}

function known(amount) {
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
  if (!known(now) || !known(before)) return el("span", { class: "kpi-change" }, "no week before to compare");
  const difference = minus(now, before);
  const way = isZero(difference) ? "same" : isNegative(difference) ? "down" : "up";
  const size = difference.replace("-", "");
  const words = { up: "up", down: "down", same: "unchanged" }[way];
  return el(
    "span",
    { class: `kpi-change kpi-${way}` },
    icon(way),
    el("span", { class: "visually-hidden" }, `${words} by `),
    `${money(size)} on the week before`,
  );
}

// ---- what each chart says -------------------------------------------------------------------------------

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
    words: [extremes("Trading income", weeks, "totalTradingIncome"), extremes("net profit", weeks, "netProfit")],
  };
}

function revenue({ weeks }) {
  const totals = new Map();
  for (const week of weeks) {
    for (const [type, amount] of Object.entries(week.revenueByType ?? {})) {
      totals.set(type, (totals.get(type) ?? 0n) + cents(amount));
    }
  }
  const last = (type) => (type === "unallocated" ? 1 : 0);
  const types = [...totals.keys()].sort((a, b) => last(a) - last(b) || (totals.get(b) > totals.get(a) ? 1 : -1));
  const own = types.length > COLOURS ? types.slice(0, COLOURS - 1) : types;
  const rest = types.slice(own.length);
  const of = (week, names) => (week.revenueByType ? sum(names.map((name) => week.revenueByType[name] ?? "0")) : null);
  const series = own.map((type, index) => ({ name: humanise(type), colour: type === "unallocated" ? `series-${COLOURS}` : `series-${index + 1}`, values: weeks.map((week) => of(week, [type])) }));
  if (rest.length > 0) series.push({ name: "Other types", colour: `series-${COLOURS}`, values: weeks.map((week) => of(week, rest)) });
  const latest = weeks.findLast((week) => week.revenueByType);
  return {
    id: "revenue",
    title: "Revenue by type",
    type: "bar",
    stacked: true,
    series,
    words: latest
      ? [`In the week ending ${day(latest.weekEnding)}: ${types.map((type) => `${humanise(type).toLowerCase()} ${money(latest.revenueByType[type] ?? "0")}`).join(", ")}`]
      : ["No revenue is held of these weeks"],
  };
}

function cash({ weeks }) {
  return {
    id: "cash",
    title: "Closing cash",
    type: "line",
    series: [{ name: "Closing cash", colour: "cash", line: true, area: true, values: weeks.map((week) => week.closingCash) }],
    words: [extremes("Closing cash", weeks, "closingCash")],
  };
}

function extremes(name, weeks, key) {
  const held = weeks.filter((week) => known(week[key])).sort((a, b) => (cents(a[key]) < cents(b[key]) ? -1 : 1));
  if (held.length === 0) return `${name} is not known of these weeks`;
  const [low, high] = [held[0], held.at(-1)];
  return `${name} was lowest in the week ending ${day(low.weekEnding)} (${money(low[key])}) and highest in that ending ${day(high.weekEnding)} (${money(high[key])})`;
}

// ---- a chart on the page --------------------------------------------------------------------------------

function figure(spec, { weeks, currency }) {
  const words = `${spec.words.join("; ")}.`;
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
    el("div", { class: "chart" }, el("canvas", { role: "img", "aria-label": `Chart: ${spec.title}. ${words}` })),
    el("figcaption", { class: "chart-words", "aria-hidden": "true" }, words),
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
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  return {
    type: spec.type,
    data: { labels: weeks.map((week) => week.weekEnding), datasets: spec.series.map((series) => dataset(series, spec, colour)) },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      animation: calm ? false : { duration: 350 },
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
      // straight: between two weeks nothing is known
      tension: 0, pointRadius: 0, pointHoverRadius: 4, pointBackgroundColor: paint, pointStyle: "circle", spanGaps: false,
    };
  }
  return {
    ...common, type: "bar", backgroundColor: paint, borderRadius: spec.stacked ? 0 : 3, borderColor: colour("surface"), maxBarThickness: 40, pointStyle: "rectRounded",
    borderWidth: spec.stacked ? { top: 1 } : 0, categoryPercentage: 0.82, barPercentage: 0.92,
  };
}
