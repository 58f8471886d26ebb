// Making elements. Whatever comes from the API goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with that id; every page has all of them. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * An element. `attributes` become attributes (`class`, `data-…`, `aria-…`), but for `on…`, which are listeners;
 * one of `null`, `undefined` or `false` is left out. `children` are elements, or text.
 */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A picture of `icons/sprite.svg`, beside a text that says the same. */
export function icon(name, extra = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon ${extra}`.trim());
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/static/icons/sprite.svg#${name}`);
  svg.append(use);
  return svg;
}

/** A link to another place, or `null` where the address is none that a browser should follow. */
export function outward(url, text, described = null) {
  if (!isWebAddress(url)) return null;
  return el("a", { href: url, rel: "noreferrer", class: "outward", "aria-label": described }, text, icon("external"));
}

/** Whether it is an http(s) address: a `javascript:` one from an answer must not become a link. */
export function isWebAddress(url) {
  try {
    return ["http:", "https:"].includes(new URL(url, window.location.href).protocol) && Boolean(url);
  } catch {
    return false;
  }
}

/** Says it to a screen reader, once. */
export function announce(text) {
  const place = byId("announcer");
  place.textContent = "";
  window.requestAnimationFrame(() => {
    place.textContent = text;
  });
}

/** Shows text in an element, or hides it where there is none. */
export function say(element, text) {
  element.textContent = text || "";
  element.hidden = !text;
}

/** A table that scrolls sideways by itself where it is too wide, by keyboard, too. */
export function scrollable(label, table) {
  return el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, table);
}
