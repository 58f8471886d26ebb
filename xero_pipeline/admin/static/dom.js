// Creates elements. Everything that comes from the API is inserted as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with that id; throws if the page has none. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Creates an element. An attribute whose name begins with `on` is a listener; one whose value is `null`, `undefined`
 * or `false` is left out. `children` are elements or text.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of `icons/sprite.svg`. It is hidden from screen readers, so a text must stand beside it. */
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

/** A link to another site, or `null` if the address is not http(s). */
export function externalLink(url, text, described = null) {
  if (!isWebAddress(url)) return null;
  return el("a", { href: url, rel: "noreferrer", class: "outward", "aria-label": described }, text, icon("external"));
}

/** Whether it is an http(s) address: a `javascript:` address from the API must not become a link. */
export function isWebAddress(url) {
  try {
    return ["http:", "https:"].includes(new URL(url, window.location.href).protocol) && Boolean(url);
  } catch {
    return false;
  }
}

/** Lets a screen reader speak the text once. */
export function announce(text) {
  const announcer = byId("announcer");
  announcer.textContent = "";
  window.requestAnimationFrame(() => {
    announcer.textContent = text;
  });
}

/** Shows the text in an element, or hides the element if there is none. */
export function setText(element, text) {
  element.textContent = text || "";
  element.hidden = !text;
}

/** A table that scrolls sideways where it is too wide, also by keyboard. */
export function scrollable(label, table) {
  return el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, table);
}
