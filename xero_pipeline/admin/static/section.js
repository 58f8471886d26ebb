// The states of a section besides its content: loading, empty, failed.

import { announce, byId, el, icon } from "./dom.js";

/** Controls a section that has `#name-loading`, `#name-state` and `#name-body`. */
export function section(name) {
  const root = byId(name);
  const loading = byId(`${name}-loading`);
  const state = byId(`${name}-state`);
  const body = byId(`${name}-body`);

  function showOnly({ busy = false, message = null, content = false }) {
    root.setAttribute("aria-busy", String(busy));
    loading.hidden = !(busy && body.hidden);
    state.replaceChildren(...(message ? [message] : []));
    body.hidden = !content;
    body.classList.toggle("stale", false);
  }

  return {
    body,
    /** Marks the section as loading. What it shows stays until the new answer arrives. */
    busy() {
      if (body.hidden) state.replaceChildren();
      root.setAttribute("aria-busy", "true");
      loading.hidden = !body.hidden;
      body.classList.toggle("stale", !body.hidden);
    },
    show: () => showOnly({ content: true }),
    empty: (title, text, { action = null, picture = "ledger" } = {}) => showOnly({ message: emptyState(title, text, action, picture) }),
    fail(error, retry) {
      showOnly({ message: failedState(error, retry) });
      // announced, not an alert: four sections that fail in the same way would be four alerts
      announce(error.message);
    },
  };
}

function emptyState(title, text, action, picture) {
  return el(
    "div",
    { class: "card empty" },
    icon(picture, "empty-icon"),
    el("h3", {}, title),
    el("p", { class: "muted" }, text),
    action,
  );
}

function failedState(error, retry) {
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

/** A button that moves the focus to another control: the sync form, or Connect. */
export function jumpButton(id, text) {
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
