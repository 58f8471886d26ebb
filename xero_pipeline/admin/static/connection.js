// The status card: whether Xero is connected, and the two buttons that change it.

import { api } from "./api.js";
import { ago, day, moment, plural, weeksBetween } from "./dates.js";
import { announce, byId, el, icon, setText } from "./dom.js";

const WARN_DAYS = 14;
const LAST_DAYS = 3;
const FEW_CALLS = 0.1;

/** Creates the card. `onStanding` is called with each status, `onDisconnected` after a disconnect. */
export function connectionCard({ timezone, latestWeek, may, onStanding, onDisconnected }) {
  const card = byId("connection");
  let standing = null;
  let shown = null;
  let shownAlerts = null;
  let newestWeek;

  function show(next) {
    standing = next;
    const fingerprint = JSON.stringify([next, newestWeek, ago(next.lastSyncAt)]);
    card.setAttribute("aria-busy", "false");
    byId("connection-loading").hidden = true;
    byId("connection-failed").hidden = true;
    byId("connection-body").hidden = false;
    byId("controls").hidden = false;
    if (fingerprint !== shown) {
      shown = fingerprint;
      paint();
    }
    onStanding(next);
  }

  function paint() {
    const state = describeState(standing);
    const pill = byId("state");
    pill.dataset.state = state.kind;
    byId("state-icon").replaceChildren(icon(state.icon));
    byId("state-text").textContent = state.text;
    byId("organisation-name").textContent = state.title;
    const forOthers = state.advice && !may.own ? "Only an owner of this page can connect it to Xero." : state.advice;
    setText(byId("state-advice"), forOthers);
    setText(byId("alert-error"), standing.alertError ?? null);
    paintAlerts();
    const shownFacts = facts(standing);
    byId("facts").replaceChildren(...shownFacts);
    byId("facts").hidden = shownFacts.length === 0;
    paintOrganisations();
    byId("connect-text").textContent = state.connect;
    byId("connect").classList.toggle("primary", state.kind !== "on");
    byId("connect").hidden = !may.own;
    byId("disconnect").hidden = !may.own || standing.organisations.length === 0;
  }

  function facts({ organisations, lastSyncAt }) {
    const items = [];
    if (lastSyncAt) {
      items.push(fact("Last sync", moment(lastSyncAt, timezone), ago(lastSyncAt)));
    } else if (organisations.length > 0) {
      items.push(fact("Last sync", "Never", "choose a week and sync it"));
    }
    if (newestWeek) {
      const behind = latestWeek ? weeksBetween(newestWeek, latestWeek) : 0;
      items.push(fact("Figures up to", day(newestWeek), behind > 0 ? `${plural(behind, "week")} behind` : "up to date", behind > 1 ? "warn" : null));
    }
    if (organisations.length === 1) items.push(proofFact(organisations[0]), callsFact(organisations[0]), tokenFact(organisations[0]));
    return items.filter(Boolean);
  }

  // the card itself shows a lost connection, so its alert is left out
  function paintAlerts() {
    const alerts = (standing.alerts ?? []).filter(({ kind }) => kind !== "connection");
    // painted again only when an alert has changed, so that an opened one stays open
    const fingerprint = JSON.stringify(alerts.map(({ title, text, openedAt }) => [title, text, openedAt]));
    if (fingerprint === shownAlerts) return;
    shownAlerts = fingerprint;
    byId("alerts").hidden = alerts.length === 0;
    byId("alerts").replaceChildren(
      ...alerts.map(({ title, text, openedAt }) =>
        el(
          "li",
          { class: "notice notice-warn" },
          icon("alert"),
          el(
            "details",
            {},
            el("summary", {}, title, el("span", { class: "since" }, `since ${moment(openedAt, timezone)}`)),
            el("p", {}, text),
          ),
        ),
      ),
    );
  }

  function paintOrganisations() {
    const several = standing.organisations.length > 1;
    byId("organisations-block").hidden = !several;
    byId("organisations").replaceChildren(...(several ? standing.organisations.map(organisationItem) : []));
  }

  function organisationItem(organisation) {
    const reconnect = organisation.status !== "connected";
    return el(
      "li",
      {},
      el(
        "div",
        { class: "organisation-head" },
        el("span", { class: "organisation-item-name" }, nameOf(organisation)),
        el("span", { class: `chip ${reconnect ? "chip-warn" : "chip-good"}` }, icon(reconnect ? "alert" : "check"), reconnect ? "Reconnect needed" : "Connected"),
      ),
      el(
        "dl",
        { class: "facts small" },
        fact("Last sync", organisation.lastSyncAt ? moment(organisation.lastSyncAt, timezone) : "Never", null),
        proofFact(organisation),
        callsFact(organisation),
        tokenFact(organisation),
      ),
    );
  }

  function showError(error) {
    card.setAttribute("aria-busy", "false");
    byId("connection-loading").hidden = true;
    byId("connection-failed").hidden = false;
    byId("connection-failed-text").textContent = error.message;
    if (!standing) {
      for (const id of ["connection-body", "controls", "facts", "organisations-block"]) byId(id).hidden = true;
    }
  }

  async function refresh(background = false) {
    card.setAttribute("aria-busy", "true");
    try {
      show(await api.status(background));
    } catch (error) {
      showError(error);
    }
  }

  byId("connection-retry").addEventListener("click", () => refresh());
  setUpDisconnectDialog(() => standing, async () => {
    await refresh();
    byId("connect").focus();
    onDisconnected();
  });

  return {
    show,
    refresh,
    /** Sets the newest week with figures, once the summary has been read. */
    figuresUpTo(week) {
      if (week !== newestWeek) {
        newestWeek = week;
        if (standing) show(standing);
      }
    },
  };
}

/** The organisation's name, with its id where two have the same name. */
export function nameOf({ displayName, tenantName }) {
  return displayName ?? tenantName;
}

/** Describes the state of the whole deployment: a word, a colour and a sentence. */
function describeState({ organisations, mockMode }) {
  const lost = organisations.filter(({ status }) => status !== "connected");
  const names = organisations.map(nameOf);
  const title = names.length > 2 ? `${names.length} organisations` : names.join(" and ");
  if (organisations.length === 0) {
    return {
      kind: "off", icon: "plug", text: "Not connected", title: "No organisation connected", connect: "Connect to Xero",
      advice: mockMode
        ? "Connect the mock organisation to begin: nothing leaves this machine."
        : "Connect your company’s Xero to begin. You sign in at Xero and choose what this pipeline may read; it can change nothing there.",
    };
  }
  if (lost.length > 0) {
    const which = lost.map(nameOf).join(" and ");
    return {
      kind: "warn", icon: "alert", text: "Reconnect needed", title, connect: "Reconnect to Xero",
      advice: `Xero no longer accepts the stored sign-in of ${which}. Connect again: figures and history stay, and missed weeks are fetched. If it is gone for good, disconnect it here.`,
    };
  }
  const unreadable = organisations.filter(({ tokenError }) => tokenError);
  if (unreadable.length > 0) {
    return {
      kind: "warn", icon: "alert", text: "Tokens cannot be read", title, connect: "Connect again",
      advice: unreadable.map(({ tokenError }) => tokenError).join(" "),
    };
  }
  return {
    kind: "on", icon: "check-circle", text: mockMode ? "Connected (Mock)" : "Connected", title,
    connect: mockMode ? "Connect again" : "Connect another organisation", advice: null,
  };
}

function fact(name, value, note, tone = null, extra = null) {
  return el(
    "div",
    { class: "fact" },
    el("dt", {}, name),
    el("dd", {}, el("span", { class: "fact-value" }, value), note ? el("span", { class: `fact-note ${tone ? `tone-${tone}` : ""}` }, note) : null, extra),
  );
}

/** How far the stored weeks are proven against Xero's own totals. */
function proofFact({ reconciliation }) {
  if (!reconciliation) return fact("Proven against Xero's totals", "Not yet", "compared daily once the scheduler runs");
  const { provenUpTo, lastCheckedAt, differingBlocks } = reconciliation;
  const checked = `last looked ${ago(lastCheckedAt)}`;
  const value = provenUpTo ? `Up to ${day(provenUpTo)}` : "No";
  if (differingBlocks > 0) return fact("Proven against Xero's totals", value, `${plural(differingBlocks, "comparison")} differ, ${checked}`, "warn");
  return fact("Proven against Xero's totals", value, checked);
}

function callsFact(organisation) {
  const left = organisation.callsLeftToday ?? Math.max(0, organisation.callsPerDay - organisation.callsToday);
  const few = left <= organisation.callsPerDay * FEW_CALLS;
  const bar = el("span", { class: `meter ${few ? "meter-warn" : ""}`, "aria-hidden": "true" }, el("span", {}));
  bar.firstChild.style.width = `${organisation.callsPerDay ? Math.min(100, (100 * left) / organisation.callsPerDay) : 0}%`;
  const grouped = new Intl.NumberFormat("en");
  return fact("Calls left today", grouped.format(left), `of ${grouped.format(organisation.callsPerDay)}`, few ? "warn" : null, bar);
}

function tokenFact(organisation) {
  if (organisation.status !== "connected") return fact("Sign-in", "Lost", "connect again", "bad");
  if (!organisation.refreshTokenExpiresAt) return fact("Sign-in", "No expiry", "a custom connection");
  const left = organisation.refreshTokenDaysLeft ?? Math.max(0, Math.floor((new Date(organisation.refreshTokenExpiresAt) - Date.now()) / 86400000));
  const tone = left <= LAST_DAYS ? "bad" : left <= WARN_DAYS ? "warn" : null;
  return fact("Sign-in expires in", plural(left, "day"), tone ? "sync, or connect again, to renew it" : "each sync renews the refresh token", tone);
}

/** Sets up the dialog that asks before anything is disconnected. */
function setUpDisconnectDialog(getStanding, onDone) {
  const dialog = byId("disconnect-dialog");
  const confirm = byId("disconnect-confirm");
  const options = byId("disconnect-options");

  byId("disconnect").addEventListener("click", () => {
    const { organisations } = getStanding();
    const several = organisations.length > 1;
    byId("disconnect-choice").hidden = !several;
    options.replaceChildren(
      ...(several ? organisations.map((organisation, index) => option(organisation.tenantId, nameOf(organisation), index === 0)) : []),
      ...(several ? [option("", organisations.length === 2 ? "Both organisations" : `All ${organisations.length} organisations`, false)] : []),
    );
    byId("disconnect-title").textContent = several ? "Disconnect from Xero?" : `Disconnect ${nameOf(organisations[0])}?`;
    setText(byId("disconnect-error"), null);
    dialog.showModal();
  });
  byId("disconnect-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("cancel", (event) => confirm.disabled && event.preventDefault());

  byId("disconnect-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = options.querySelector("input:checked")?.value ?? "";
    setBusy(true);
    try {
      const { warning } = await api.disconnect(chosen || null);
      dialog.close();
      announce(warning ? `Disconnected. ${warning}` : "Disconnected.");
      setText(byId("connection-warning"), warning);
      await onDone();
    } catch (error) {
      setText(byId("disconnect-error"), error.message);
    } finally {
      setBusy(false);
    }
  });

  function setBusy(isBusy) {
    confirm.disabled = isBusy;
    byId("disconnect-cancel").disabled = isBusy;
    confirm.classList.toggle("busy", isBusy);
    byId("disconnect-confirm-text").textContent = isBusy ? "Disconnecting…" : "Disconnect";
  }
}

function option(value, text, checked) {
  const input = el("input", { type: "radio", name: "tenant", value });
  input.checked = checked;
  return el("label", { class: "option" }, input, el("span", {}, text));
}
