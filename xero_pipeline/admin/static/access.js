// Who may use the page and who is signed in. Only an owner's page has this section.

import { api } from "./api.js";
import { ago, moment } from "./dates.js";
import { announce, byId, el, setText } from "./dom.js";
import { humanise } from "./labels.js";
import { section } from "./section.js";

/** Creates the lists. `onChanged` is called after each change. */
export function accessLists({ timezone, onChanged }) {
  const view = section("access");

  async function load() {
    view.busy();
    try {
      const [sessions, persons] = await Promise.all([api.sessions(), api.persons()]);
      paintSessions(sessions);
      paintPersons(persons);
      view.show();
    } catch (error) {
      view.fail(error, load);
    }
  }

  function paintSessions(sessions) {
    byId("sessions-end-all").hidden = sessions.length === 0;
    if (sessions.length === 0) {
      byId("sessions-list").replaceChildren(el("p", { class: "muted pad" }, "Nobody has a session."));
      return;
    }
    byId("sessions-list").replaceChildren(
      list("Sessions", ["Who", "From", "Last used", "Ends", "End"], sessions.map((session) => [
        [session.who, el("span", { class: "muted" }, session.isCurrent ? " this session" : ` ${session.role}`)],
        session.origin,
        ago(session.lastSeenAt),
        moment(session.endsAt, timezone),
        el("button", { type: "button", class: "button small", "aria-label": `End the session of ${session.who} from ${session.origin}`, onclick: () => end(session.id, session.isCurrent) }, "End"),
      ])),
    );
  }

  function paintPersons(persons) {
    if (persons.length === 0) {
      byId("persons-list").replaceChildren(el("p", { class: "muted pad" }, "Nobody has a token of their own. ADMIN_TOKEN is the owner’s."));
      return;
    }
    byId("persons-list").replaceChildren(
      list("People", ["Name", "Role", "Since", "End"], persons.map((person) => [
        person.name,
        humanise(person.role) + (person.hasToken ? "" : ", through the proxy"),
        moment(person.createdAt, timezone),
        el("button", { type: "button", class: "button small", "aria-label": `Remove ${person.name}`, onclick: () => remove(person.name) }, "Remove"),
      ])),
    );
  }

  async function change(action, said) {
    setText(byId("access-error"), null);
    try {
      const answer = await action();
      announce(said);
      onChanged();
      await load();
      return answer;
    } catch (error) {
      setText(byId("access-error"), error.message);
      return null;
    }
  }

  async function end(id, isCurrent) {
    await change(() => api.endSession(id), "The session has ended.");
    if (isCurrent) window.location.assign("/login");
  }

  const remove = (name) => change(() => api.removePerson(name), `${name} has no access any more.`);

  byId("sessions-end-all").addEventListener("click", () => end(null, true));
  byId("person-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = byId("person-name").value.trim();
    const added = await change(() => api.addPerson(name, byId("person-role").value), `${name} has access.`);
    if (!added) return;
    byId("person-form").reset();
    byId("new-token-text").textContent = `The access token of ${added.name}. It is shown only now:`;
    byId("new-token-value").textContent = added.token;
    byId("new-token").hidden = false;
    byId("new-token").focus();
  });
  byId("new-token-close").addEventListener("click", () => {
    byId("new-token-value").textContent = "";
    byId("new-token").hidden = true;
    byId("person-name").focus();
  });

  return { load };
}

function list(label, columns, rows) {
  return el(
    "table",
    { class: "log", role: "table" },
    el("caption", { class: "visually-hidden" }, label),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map((name) => el("th", { scope: "col", role: "columnheader" }, name === "End" && columns.at(-1) === name ? el("span", { class: "visually-hidden" }, "Action") : name)))),
    el("tbody", { role: "rowgroup" }, rows.map((cells) => el("tr", { role: "row" }, cells.map((content, index) => el("td", { role: "cell", "data-label": columns[index], class: index === cells.length - 1 ? "to-end" : null }, ...[content].flat()))))),
  );
}
