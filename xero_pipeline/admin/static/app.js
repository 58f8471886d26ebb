// The page's beginning: what it is told by the server, its parts, and who tells whom.

import { connectionCard } from "./connection.js";
import { byId } from "./dom.js";
import { restatementList, syncLog } from "./log.js";
import { schedulerSwitch } from "./scheduler.js";
import { syncControl } from "./sync.js";
import { trends } from "./trends.js";
import { weekFigures } from "./week.js";

const REFRESH = 60000;

function start() {
  const { timezone, latestWeek, firstWeek, dagsterUrl } = byId("content").dataset;
  let standing = null;
  let newestKnown = false;
  const connected = () => Boolean(standing?.connected);
  const told = { timezone, latestWeek, firstWeek, dagsterUrl, connected };

  const week = weekFigures(told);
  const log = syncLog(told);
  const restatements = restatementList(told);
  const trend = trends({
    connected,
    onPick: (ending) => {
      week.choose(ending);
      byId("week").scrollIntoView({ behavior: calm() ? "auto" : "smooth" });
    },
    onNewest: (ending) => {
      card.figuresUpTo(ending);
      // the first answer says which week there is something to show of
      if (!newestKnown && ending && ending !== week.chosen) week.choose(ending);
      newestKnown = true;
    },
  });
  const scheduler = schedulerSwitch({ refresh: () => card.refresh() });
  const sync = syncControl({
    ...told,
    onEnded: (ending) => {
      card.refresh();
      trend.load();
      week.choose(ending);
      log.load();
      restatements.load();
    },
  });
  const card = connectionCard({ ...told, onStanding: heard, onDisconnected: loadFigures });

  function heard(next) {
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
  }

  greet();
  const given = byId("connection").dataset.standing;
  if (given) card.show(JSON.parse(given));
  else card.refresh().then(() => standing ?? loadFigures());
  sync.resume();
  window.setInterval(() => document.visibilityState === "visible" && card.refresh(), REFRESH);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && card.refresh());
}

/** What the way back from Xero's consent says; it leaves the address bar, so that it is not said again. */
function greet() {
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

function calm() {
  return window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

start();
