// Starts the page: reads its settings, creates its parts, and connects them.

import { accessLists } from "./access.js";
import { auditLog } from "./audit.js";
import { connectionCard } from "./connection.js";
import { byId } from "./dom.js";
import { downloadForm } from "./download.js";
import { figureExplainer } from "./explain.js";
import { restatementList, syncLog } from "./log.js";
import { grainSwitch, monthFigures } from "./month.js";
import { schedulerSwitch } from "./scheduler.js";
import { syncControl } from "./sync.js";
import { trends } from "./trends.js";
import { weekFigures } from "./week.js";

const REFRESH_MS = 60000;

function start() {
  const { timezone, latestWeek, firstWeek, latestMonth, firstMonth, dagsterUrl, role } = byId("content").dataset;
  const may = { operate: role !== "viewer", own: role === "owner" };
  let standing = null;
  let newestKnown = false;
  const connected = () => Boolean(standing?.connected);
  const settings = { timezone, latestWeek, firstWeek, dagsterUrl, connected, may };

  const explainer = figureExplainer(settings);
  const week = weekFigures({ ...settings, explainer });
  const month = monthFigures({ firstMonth, latestMonth, connected });
  const grain = grainSwitch({ onMonth: () => month.load() });
  const log = syncLog(settings);
  const restatements = restatementList({ ...settings, explainer });
  const audit = auditLog(settings);
  const access = document.getElementById("access") ? accessLists({ ...settings, onChanged: () => audit.load() }) : null;
  const trend = trends({
    connected,
    may,
    onPick: (ending) => {
      grain.show("week");
      week.choose(ending);
      byId("week").scrollIntoView({ behavior: prefersReducedMotion() ? "auto" : "smooth" });
    },
    onNewest: (ending) => {
      card.figuresUpTo(ending);
      // the first answer shows which week is the newest with figures
      if (!newestKnown && ending && ending !== week.chosen) week.choose(ending);
      newestKnown = true;
    },
  });
  const scheduler = schedulerSwitch({ may, refresh: () => card.refresh(), onSwitched: () => audit.load() });
  const sync = syncControl({
    ...settings,
    onEnded: (ending) => {
      card.refresh();
      trend.load();
      week.choose(ending);
      log.load();
      restatements.load();
      audit.load();
    },
  });
  const card = connectionCard({ ...settings, onStanding: showStanding, onDisconnected: loadFigures });

  function showStanding(next) {
    const first = standing === null;
    const changed = standing?.connected !== next.connected;
    standing = next;
    scheduler.show(next);
    sync.show(next);
    if (first || changed) loadFigures();
  }

  function loadFigures() {
    trend.load();
    week.load();
    log.load();
    restatements.load();
    audit.load();
    access?.load();
  }

  downloadForm();
  showNotice();
  const embedded = byId("connection").dataset.standing;
  if (embedded) card.show(JSON.parse(embedded));
  else card.refresh().then(() => standing ?? loadFigures());
  sync.resume();
  window.setInterval(() => document.visibilityState === "visible" && card.refresh(true), REFRESH_MS);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && card.refresh());
}

/** Shows the message after Xero's consent once: the address bar loses it, so a reload does not show it again. */
function showNotice() {
  const address = new URL(window.location.href);
  if (address.searchParams.has("xero")) {
    address.searchParams.delete("xero");
    address.searchParams.delete("reason");
    window.history.replaceState(null, "", address.pathname + address.search + address.hash);
  }
  const notice = document.getElementById("notice");
  if (!notice) return;
  notice.focus();
  byId("notice-close").addEventListener("click", () => {
    notice.remove();
    byId("content").focus();
  });
}

function prefersReducedMotion() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

start();
