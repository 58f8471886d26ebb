// A section with the figures of one week or one month: its pickers, what is asked for, and whose figures are shown.

import { byId, el } from "./dom.js";
import { section } from "./section.js";
import { ALL, fillOrganisations, sideBySide } from "./side_by_side.js";

/**
 * Controls the section `name`, with `#name-select`, `#name-previous`, `#name-next` and `#name-lede`.
 *
 * `organisationId` is the select of organisations; its row is `#organisationId-picker`. `first` and `latest` are the
 * periods that can be chosen, by their last days, and `shift` moves one by some periods. `fetch` asks for a period,
 * `span` says its days, `describe` lists what the lede says of an organisation's figures, and `render` returns the
 * nodes that show them. `none` and `unread` are the title and text where there is no period, or no figures of it.
 */
export function periodSection(name, { organisationId, first, latest, shift, fetch, span, describe, render, none, unread }) {
  const view = section(name);
  const select = byId(`${name}-select`);
  const previous = byId(`${name}-previous`);
  const next = byId(`${name}-next`);
  const lede = byId(`${name}-lede`);
  const picker = byId(organisationId);
  let tenantId = null;
  let data = null;
  let lastRequest = 0;

  select.addEventListener("change", () => load());
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  picker.addEventListener("change", () => {
    tenantId = picker.value;
    paint();
  });

  function step(periods) {
    const target = shift(select.value, periods);
    if (target >= first && target <= latest) {
      select.value = target;
      load();
    }
  }

  async function load() {
    lastRequest += 1;
    const request = lastRequest;
    const period = select.value;
    previous.disabled = !period || period <= first;
    next.disabled = !period || period >= latest;
    if (!period) {
      view.empty(...none);
      return;
    }
    view.busy();
    lede.textContent = span(period);
    try {
      const answer = await fetch(period);
      if (request !== lastRequest) return;
      data = { period, organisations: answer.organisations ?? [] };
      // The choice stays for other periods.
      byId(`${organisationId}-picker`).hidden = data.organisations.length < 2;
      fillOrganisations(picker, data.organisations, tenantId);
      paint();
    } catch (error) {
      if (request === lastRequest) view.fail(error, load);
    }
  }

  function paint() {
    const { period, organisations } = data;
    const figures = organisations.find((organisation) => organisation.tenantId === picker.value);
    if (picker.value !== ALL && !figures) {
      view.empty(...unread());
      return;
    }
    const details = figures ? [figures.tenantName, figures.currency ? `in ${figures.currency}` : null, ...describe(figures)] : [];
    lede.textContent = [span(period), ...details].filter(Boolean).join(" · ");
    view.body.replaceChildren(...(figures ? render(figures, period) : [el("div", { class: "stacked" }, sideBySide(organisations))]));
    view.show();
  }

  return {
    load,
    /** Shows the given period, or the chosen one if none is given. */
    choose(period) {
      if (period && period >= first && period <= latest) select.value = period;
      return load();
    },
    get chosen() {
      return select.value;
    },
  };
}
