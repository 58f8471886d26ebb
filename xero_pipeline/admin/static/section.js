// The states that each section has beside its content: loading, empty, failing.

import { announce, byId, el, icon } from "./dom.js";

/** A section with `#name-loading`, `#name-state` and `#name-body`. */
export function section(name) {
  const root = byId(name);
  const loading = byId(`${name}-loading`);
  const state = byId(`${name}-state`);
  const body = byId(`${name}-body`);

  function only({ busy = false, message = null, content = false }) {
    root.setAttribute("aria-busy", String(busy));
    loading.hidden = !(busy && body.hidden);
    state.replaceChildren(...(message ? [message] : []));
    body.hidden = !content;
    body.classList.toggle("stale", false);
  }

  return {
    body,
    /** What is already shown stays until the new answer is there. */
    busy() {
      if (body.hidden) state.replaceChildren();
      root.setAttribute("aria-busy", "true");
      loading.hidden = !body.hidden;
      body.classList.toggle("stale", !body.hidden);
    },
    show: () => only({ content: true }),
    empty: (title, text, { action = null, picture = "ledger" } = {}) => only({ message: emptiness(title, text, action, picture) }),
    fail(error, retry) {
      only({ message: failure(error, retry) });
      // not an alert of its own: four sections that fail alike are one piece of news
      announce(error.message);
    },
  };
}

function emptiness(title, text, action, picture) {
  return el(
    "div",
    { class: "card empty" },
    icon(picture, "empty-icon"),
    el("h3", {}, title),
    el("p", { class: "muted" }, text),
    action,
  );
}

function failure(error, retry) {
  return el(
    "div",
    { class: "notice notice-error" },
    icon("cross-circle"),
    el(
      "div",
      {},
      el("p", {}, error.message),
      el("button", { type: "button", class: "button small", onclick: retry }, "Try again"),
    ),
  );
}

/** A button that brings a person to what helps: the sync form, or Connect. */
export function towards(id, text) {
  return el(
    "button",
    {
      type: "button",
      class: "button",
      onclick: () => {
        const target = byId(id);
        const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
        target.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
        target.focus({ preventScroll: true });
      },
    },
    text,
  );
}
