// The audit log: who did what, from where, when, and how it ended.

import { api } from "./api.js";
import { moment } from "./dates.js";
import { el, icon } from "./dom.js";
import { ACTIONS, humanise } from "./labels.js";
import { section } from "./section.js";

const PAGE_SIZE = 15;
const MAX_ROWS = 500;

export function auditLog({ timezone }) {
  const view = section("audit");
  let limit = PAGE_SIZE;

  async function load() {
    view.busy();
    try {
      paint(await api.audit(limit));
    } catch (error) {
      view.fail(error, load);
    }
  }

  function paint(rows) {
    if (rows.length === 0) {
      view.empty("Nobody has done anything yet", "Sign-ins, syncs, connections and changes of access are listed here, with who did them and from where.", { picture: "lock" });
      return;
    }
    const columns = ["When", "Who", "What", "Subject", "From", "Outcome"];
    view.body.replaceChildren(
      el(
        "div",
        { class: "card table-card" },
        el(
          "table",
          { class: "log", role: "table" },
          el("caption", { class: "visually-hidden" }, "Audit log, newest first"),
          el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { scope: "col", role: "columnheader" }, name)))),
          el("tbody", { role: "rowgroup" }, rows.map(row)),
        ),
      ),
      ...more(rows),
    );
    view.show();
  }

  function row(entry) {
    const cell = (name, ...content) => el("td", { role: "cell", "data-label": name }, ...content);
    const succeeded = entry.outcome === "success";
    const times = entry.count > 1 ? el("span", { class: "muted" }, ` ${entry.count} times until ${moment(entry.lastAt, timezone)}`) : null;
    return el(
      "tr",
      { role: "row" },
      cell("When", moment(entry.at, timezone)),
      cell("Who", entry.who, entry.role === "none" ? null : el("span", { class: "muted" }, ` ${entry.role}`)),
      cell("What", ACTIONS[entry.action] ?? humanise(entry.action)),
      cell("Subject", entry.subject || el("span", { class: "muted" }, "–")),
      cell("From", entry.origin),
      cell("Outcome", el("span", { class: `chip chip-${succeeded ? "good" : "bad"}` }, icon(succeeded ? "check" : "cross-circle"), humanise(entry.outcome)), times),
    );
  }

  function more(rows) {
    if (rows.length < limit || limit >= MAX_ROWS) return [];
    const show = () => {
      limit = Math.min(MAX_ROWS, limit * 3);
      load();
    };
    return [el("p", { class: "more" }, el("button", { type: "button", class: "button", onclick: show }, "Show more"))];
  }

  return { load };
}
