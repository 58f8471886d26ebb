// Sync now: choose a week, start its run in Dagster, watch it, say how it went.

import { api } from "./api.js";
import { day, fillWeeks, plural, shiftWeek } from "./dates.js";
import { announce, byId, el, icon, isWebAddress, say } from "./dom.js";
import { problemSummary, STATUS, SYNC_TYPES } from "./words.js";

const POLL = 1000;
const POLL_SLOWLY = 3000;
const FAST_POLLS = 30;
const LOST_AFTER = 5;
const REMEMBERED = "xero-pipeline.run";
const ENDED = new Set(["success", "failed", "canceled"]);

export function syncControl({ firstWeek, latestWeek, onEnded }) {
  const form = byId("sync-form");
  const select = byId("sync-week");
  const button = byId("sync-button");
  let organisations = [];
  let running = false;
  let held = false;
  // how many parts a screen reader has heard of
  let told = 0;

  fillWeeks(select, firstWeek, latestWeek, (week) => (week === latestWeek ? `${day(week)} (latest)` : day(week)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) start(select.value);
  });

  function show(standing) {
    organisations = standing.organisations;
    const unable = !select.value
      ? "No week is over yet."
      : standing.schedulerRunning === null || standing.schedulerRunning === undefined
        ? "Dagster does not answer, so nothing can be synced from here now."
        : organisations.length === 0
          ? "Connect to Xero first."
          : standing.connected
            ? null
            : "Reconnect to Xero first.";
    if (!running) {
      button.disabled = Boolean(unable);
      select.disabled = Boolean(unable);
    }
    say(byId("sync-disabled"), running ? null : unable);
  }

  async function start(week) {
    busy(true);
    begin(week, "Starting…");
    try {
      const { runId, url } = await api.startSync(week);
      remember({ runId, week });
      link(url);
      await watch(runId, week);
    } catch (error) {
      finish("bad", `Week ending ${day(week)} could not be synced`, error.message);
    } finally {
      busy(false);
    }
  }

  /** Asks until the run has ended. Answers lost on the way are asked for again. */
  async function watch(runId, week) {
    let lost = 0;
    told = 0;
    for (let polls = 0; ; polls += 1) {
      try {
        const run = await api.run(runId);
        lost = 0;
        say(byId("run-message"), null);
        link(run.url);
        paintParts(run, week);
        if (ENDED.has(run.status)) {
          ended(run, week);
          return;
        }
      } catch (error) {
        if (error.status === 404 || error.status === 401) throw error;
        lost += 1;
        if (lost >= LOST_AFTER) say(byId("run-message"), `${error.message} The run goes on in Dagster; asking again…`);
      }
      await new Promise((resolve) => window.setTimeout(resolve, polls < FAST_POLLS ? POLL : POLL_SLOWLY));
    }
  }

  function paintParts({ status, logs }, week) {
    const parts = expected(logs ?? []);
    const over = parts.filter(({ entry }) => entry && entry.status !== "running").length;
    const bar = byId("run-progress");
    bar.max = parts.length || 1;
    if (status === "queued") bar.removeAttribute("value");
    else bar.value = over;
    byId("run-title").textContent =
      status === "queued" ? `Week ending ${day(week)}: waiting for Dagster` : `Week ending ${day(week)}: ${over} of ${parts.length} read${over === parts.length ? ", finishing" : ""}`;
    if (over > told && !ENDED.has(status)) announce(`${over} of ${parts.length} read.`);
    told = over;
    byId("run-parts").replaceChildren(...parts.map((part) => partItem(part, ENDED.has(status))));
  }

  /** What a run of one week reads: three kinds of figures for each organisation, and what it logged of them. */
  function expected(logs) {
    const tenants = new Map(organisations.filter(({ status }) => status === "connected").map((one) => [one.tenantId, one.tenantName]));
    for (const entry of logs) tenants.set(entry.tenantId, entry.tenantName ?? tenants.get(entry.tenantId) ?? entry.tenantId);
    const several = tenants.size > 1;
    return [...tenants].flatMap(([tenantId, name]) =>
      Object.entries(SYNC_TYPES).map(([type, text]) => ({
        text: several ? `${name}: ${text.toLowerCase()}` : text,
        entry: logs.find((entry) => entry.tenantId === tenantId && entry.syncType === type) ?? null,
      })),
    );
  }

  function partItem({ text, entry }, over) {
    const status = entry ? (STATUS[entry.status] ?? STATUS.running) : null;
    const said = entry && ["failed", "partial"].includes(entry.status) ? problemSummary(entry.errorLog) : null;
    return el(
      "li",
      { class: "run-part", "data-tone": status?.tone ?? "quiet" },
      el("span", { class: "run-part-icon" }, status?.tone === "busy" ? el("span", { class: "spinner on", "aria-hidden": "true" }) : icon(status?.icon ?? "dot")),
      el("span", {}, text, el("span", { class: "run-part-state" }, status ? ` ${status.text.toLowerCase()}` : over ? " not read" : " waiting"), said ? el("span", { class: "run-part-problem" }, said) : null),
    );
  }

  function ended(run, week) {
    forget();
    const logs = run.logs ?? [];
    const bad = logs.filter(({ status }) => status === "failed").length;
    const partial = logs.filter(({ status }) => status === "partial").length;
    const name = `Week ending ${day(week)}`;
    if (run.status === "canceled") finish("warn", `${name}: the run was cancelled in Dagster`, "What had landed before stays.");
    else if (run.status === "failed" || bad > 0) {
      finish("bad", `${name}: ${bad > 0 ? `${bad} of ${expected(logs).length} failed` : "the run failed"}`, bad > 0 ? "What failed kept the figures it had before; the rest landed." : "Dagster’s page of the run says why.");
    } else if (partial > 0) finish("warn", `${name} landed, but does not add up`, "The figures differ from Xero’s own totals; the sync log below says by how much.");
    else finish("good", `${name} is in`, `${plural(logs.reduce((count, { recordCount }) => count + (recordCount ?? 0), 0), "row")}, ${plural(logs.reduce((count, { apiCalls }) => count + (apiCalls ?? 0), 0), "call")} to Xero.`);
    onEnded(week);
  }

  function begin(week, text) {
    const panel = byId("run");
    panel.hidden = false;
    panel.dataset.tone = "busy";
    byId("run-icon").replaceChildren(el("span", { class: "spinner on", "aria-hidden": "true" }));
    byId("run-title").textContent = text;
    byId("run-progress").hidden = false;
    byId("run-progress").removeAttribute("value");
    byId("run-parts").replaceChildren();
    say(byId("run-message"), null);
    link(null);
    announce(`Syncing the week ending ${day(week)}.`);
  }

  function finish(tone, title, message) {
    const panel = byId("run");
    panel.dataset.tone = tone;
    byId("run-icon").replaceChildren(icon({ good: "check-circle", warn: "alert", bad: "cross-circle" }[tone]));
    byId("run-title").textContent = title;
    byId("run-progress").hidden = true;
    say(byId("run-message"), message);
    announce(`${title}. ${message}`);
  }

  function link(url) {
    const anchor = byId("run-link");
    if (url && isWebAddress(url)) anchor.href = url;
    anchor.hidden = !(url && isWebAddress(url));
  }

  function busy(on) {
    if (on) held = form.contains(document.activeElement);
    running = on;
    button.disabled = on;
    select.disabled = on;
    button.classList.toggle("busy", on);
    byId("sync-button-text").textContent = on ? "Syncing…" : "Sync now";
    if (on) say(byId("sync-disabled"), null);
    // a disabled button loses the focus; whoever has gone elsewhere meanwhile stays there
    else if (held && document.activeElement === document.body) button.focus({ preventScroll: true });
  }

  /** A run that was begun before the page was loaded anew is watched on. */
  async function resume() {
    const known = remembered();
    if (!known) return;
    busy(true);
    begin(known.week, "Looking for the run…");
    try {
      await watch(known.runId, known.week);
    } catch {
      forget();
      byId("run").hidden = true;
    } finally {
      busy(false);
    }
  }

  return { show, resume, choose: (week) => { if (week <= latestWeek && shiftWeek(week, 0) === week) select.value = week; } };
}

// Storage may be switched off in a browser; then a run is simply not remembered.
function remember(run) {
  try {
    window.sessionStorage.setItem(REMEMBERED, JSON.stringify(run));
  } catch {
    // nothing to do
  }
}

function forget() {
  try {
    window.sessionStorage.removeItem(REMEMBERED);
  } catch {
    // nothing to do
  }
}

function remembered() {
  try {
    const run = JSON.parse(window.sessionStorage.getItem(REMEMBERED) ?? "null");
    return run?.runId && run?.week ? run : null;
  } catch {
    return null;
  }
}
