// The sync control: chooses a week, starts its run in Dagster, polls the run, and shows the outcome.

import { api } from "./api.js";
import { nameOf } from "./connection.js";
import { day, fillWeeks, plural, shiftWeek } from "./dates.js";
import { announce, byId, el, icon, isWebAddress, setText } from "./dom.js";
import { problemSummary, STATUS, SYNC_TYPES, WEEKLY_SYNC_TYPES } from "./labels.js";

const POLL_MS = 1000;
const SLOW_POLL_MS = 3000;
const FAST_POLLS = 30;
const LOST_AFTER = 5;
const STORAGE_KEY = "xero-pipeline.run";
const ENDED = new Set(["success", "failed", "canceled"]);

export function syncControl({ firstWeek, latestWeek, may, onEnded }) {
  const form = byId("sync-form");
  const select = byId("sync-week");
  const button = byId("sync-button");
  let organisations = [];
  let running = false;
  let hadFocus = false;
  // how many finished parts were announced to screen readers
  let announced = 0;

  fillWeeks(select, firstWeek, latestWeek, (week) => (week === latestWeek ? `${day(week)} (latest)` : day(week)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) start(select.value);
  });

  function show(standing) {
    organisations = standing.organisations;
    const obstacle = !may.operate
      ? "Your role sees the figures but does not sync."
      : !select.value
      ? "No week is over yet."
      : standing.schedulerRunning === null || standing.schedulerRunning === undefined
        ? "Dagster does not answer, so nothing can be synced from here now."
        : organisations.length === 0
          ? "Connect to Xero first."
          : standing.connected
            ? null
            : "Reconnect to Xero first.";
    if (!running) {
      button.disabled = Boolean(obstacle);
      select.disabled = Boolean(obstacle);
    }
    setText(byId("sync-disabled"), running ? null : obstacle);
  }

  async function start(week) {
    setBusy(true);
    showStart(week, "Starting…");
    try {
      const { runId, url } = await api.startSync(week);
      remember({ runId, week });
      setRunLink(url);
      await pollRun(runId, week);
    } catch (error) {
      finish("bad", `Week ending ${day(week)} could not be synced`, error.message);
    } finally {
      setBusy(false);
    }
  }

  /** Polls until the run has ended. A failed poll is repeated. */
  async function pollRun(runId, week) {
    let lost = 0;
    announced = 0;
    for (let polls = 0; ; polls += 1) {
      try {
        const run = await api.run(runId);
        lost = 0;
        setText(byId("run-message"), null);
        setRunLink(run.url);
        paintParts(run, week);
        if (ENDED.has(run.status)) {
          showOutcome(run, week);
          return;
        }
      } catch (error) {
        if (error.status === 404 || error.status === 401) throw error;
        lost += 1;
        if (lost >= LOST_AFTER) setText(byId("run-message"), `${error.message} The run goes on in Dagster; asking again…`);
      }
      await new Promise((resolve) => window.setTimeout(resolve, polls < FAST_POLLS ? POLL_MS : SLOW_POLL_MS));
    }
  }

  function paintParts({ status, logs }, week) {
    const parts = listParts(logs ?? []);
    const over = parts.filter(({ entry }) => entry && entry.status !== "running").length;
    const bar = byId("run-progress");
    bar.max = parts.length || 1;
    if (status === "queued") bar.removeAttribute("value");
    else bar.value = over;
    byId("run-title").textContent =
      status === "queued" ? `Week ending ${day(week)}: waiting for Dagster` : `Week ending ${day(week)}: ${over} of ${parts.length} read${over === parts.length ? ", finishing" : ""}`;
    if (over > announced && !ENDED.has(status)) announce(`${over} of ${parts.length} read.`);
    announced = over;
    byId("run-parts").replaceChildren(...parts.map((part) => partItem(part, ENDED.has(status))));
  }

  /** The parts of a run of one week, three kinds of figures for each organisation, each with its log entry. */
  function listParts(logs) {
    const tenants = new Map(organisations.filter(({ status }) => status === "connected").map((organisation) => [organisation.tenantId, nameOf(organisation)]));
    for (const entry of logs) tenants.set(entry.tenantId, entry.tenantName ?? tenants.get(entry.tenantId) ?? entry.tenantId);
    const several = tenants.size > 1;
    return [...tenants].flatMap(([tenantId, name]) =>
      WEEKLY_SYNC_TYPES.map((type) => ({
        text: several ? `${name}: ${SYNC_TYPES[type].toLowerCase()}` : SYNC_TYPES[type],
        entry: logs.find((entry) => entry.tenantId === tenantId && entry.syncType === type) ?? null,
      })),
    );
  }

  function partItem({ text, entry }, over) {
    const status = entry ? (STATUS[entry.status] ?? STATUS.running) : null;
    const problem = entry && ["failed", "partial"].includes(entry.status) ? problemSummary(entry.errorLog) : null;
    return el(
      "li",
      { class: "run-part", "data-tone": status?.tone ?? "quiet" },
      el("span", { class: "run-part-icon" }, status?.tone === "busy" ? el("span", { class: "spinner on", "aria-hidden": "true" }) : icon(status?.icon ?? "dot")),
      el("span", {}, text, el("span", { class: "run-part-state" }, status ? ` ${status.text.toLowerCase()}` : over ? " not read" : " waiting"), problem ? el("span", { class: "run-part-problem" }, problem) : null),
    );
  }

  function showOutcome(run, week) {
    forget();
    const logs = run.logs ?? [];
    const bad = logs.filter(({ status }) => status === "failed").length;
    const partial = logs.filter(({ status }) => status === "partial").length;
    const name = `Week ending ${day(week)}`;
    if (run.status === "canceled") finish("warn", `${name}: the run was cancelled in Dagster`, "The figures that had already landed stay.");
    else if (run.status === "failed" || bad > 0) {
      finish("bad", `${name}: ${bad > 0 ? `${bad} of ${listParts(logs).length} failed` : "the run failed"}`, bad > 0 ? "The failed parts keep their earlier figures; the rest landed." : "The run’s page in Dagster says why.");
    } else if (partial > 0) finish("warn", `${name} landed, but does not add up`, "The figures differ from Xero’s own totals; the sync log below says by how much.");
    else finish("good", `${name} is in`, `${plural(logs.reduce((count, { recordCount }) => count + (recordCount ?? 0), 0), "row")}, ${plural(logs.reduce((count, { apiCalls }) => count + (apiCalls ?? 0), 0), "call")} to Xero.`);
    onEnded(week);
  }

  function showStart(week, text) {
    const panel = byId("run");
    panel.hidden = false;
    panel.dataset.tone = "busy";
    byId("run-icon").replaceChildren(el("span", { class: "spinner on", "aria-hidden": "true" }));
    byId("run-title").textContent = text;
    byId("run-progress").hidden = false;
    byId("run-progress").removeAttribute("value");
    byId("run-parts").replaceChildren();
    setText(byId("run-message"), null);
    setRunLink(null);
    announce(`Syncing the week ending ${day(week)}.`);
  }

  function finish(tone, title, message) {
    const panel = byId("run");
    panel.dataset.tone = tone;
    byId("run-icon").replaceChildren(icon({ good: "check-circle", warn: "alert", bad: "cross-circle" }[tone]));
    byId("run-title").textContent = title;
    byId("run-progress").hidden = true;
    setText(byId("run-message"), message);
    announce(`${title}. ${message}`);
  }

  function setRunLink(url) {
    const anchor = byId("run-link");
    if (url && isWebAddress(url)) anchor.href = url;
    anchor.hidden = !(url && isWebAddress(url));
  }

  function setBusy(isBusy) {
    if (isBusy) hadFocus = form.contains(document.activeElement);
    running = isBusy;
    button.disabled = isBusy;
    select.disabled = isBusy;
    button.classList.toggle("busy", isBusy);
    byId("sync-button-text").textContent = isBusy ? "Syncing…" : "Sync now";
    if (isBusy) setText(byId("sync-disabled"), null);
    // a disabled button loses the focus: give it back, unless the person has moved on
    else if (hadFocus && document.activeElement === document.body) button.focus({ preventScroll: true });
  }

  /** Goes on polling a run that was started before the page was reloaded. */
  async function resume() {
    const remembered = recall();
    if (!remembered) return;
    setBusy(true);
    showStart(remembered.week, "Looking for the run…");
    try {
      await pollRun(remembered.runId, remembered.week);
    } catch {
      forget();
      byId("run").hidden = true;
    } finally {
      setBusy(false);
    }
  }

  return { show, resume, choose: (week) => { if (week <= latestWeek && shiftWeek(week, 0) === week) select.value = week; } };
}

// A browser may have its storage switched off. Then the run is not remembered.
function remember(run) {
  try {
    window.sessionStorage.setItem(STORAGE_KEY, JSON.stringify(run));
  } catch {
    // nothing to do
  }
}

function forget() {
  try {
    window.sessionStorage.removeItem(STORAGE_KEY);
  } catch {
    // nothing to do
  }
}

function recall() {
  try {
    const run = JSON.parse(window.sessionStorage.getItem(STORAGE_KEY) ?? "null");
    return run?.runId && run?.week ? run : null;
  } catch {
    return null;
  }
}
