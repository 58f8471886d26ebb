// Amounts are decimal strings ("-1234.50"). They are shown and added up exactly: no binary float touches them.
// Only a chart, which draws pixels, may use `approximately`.

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

function parts(amount) {
  const found = DECIMAL.exec(String(amount).trim());
  if (!found) return null;
  const [, sign, whole, fraction = ""] = found;
  return { negative: sign === "-" && /[1-9]/.test(whole + fraction), whole: whole.replace(/^0+(?=\d)/, ""), fraction };
}

/** "-1234.5" → "−1,234.50". What is no decimal is shown as it came; nothing is "–". */
export function money(amount) {
  if (amount === null || amount === undefined || amount === "") return "–";
  const found = parts(amount);
  if (!found) return String(amount);
  const grouped = found.whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${found.negative ? "−" : ""}${grouped}.${found.fraction.padEnd(2, "0")}`;
}

/** A decimal as whole cents. More than two places do not occur in these tables; they are cut. */
export function cents(amount) {
  const found = parts(amount ?? "0");
  if (!found) return 0n;
  const value = BigInt(found.whole + found.fraction.padEnd(2, "0").slice(0, 2));
  return found.negative ? -value : value;
}

/** Whole cents as a decimal string. */
export function fromCents(value) {
  const digits = (value < 0n ? -value : value).toString().padStart(3, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The exact sum of decimal strings, as one. */
export function sum(amounts) {
  return fromCents(amounts.reduce((total, amount) => total + cents(amount), 0n));
}

/** The exact difference `a − b`. */
export function minus(a, b) {
  return fromCents(cents(a) - cents(b));
}

export function isNegative(amount) {
  return parts(amount ?? "0")?.negative ?? false;
}

export function isZero(amount) {
  return cents(amount) === 0n;
}

/** A number to draw with, never to show. */
export function approximately(amount) {
  return amount === null || amount === undefined ? null : Number(amount);
}

/** A tick of a chart's axis: 250000 → "250k". */
export function short(number) {
  const size = Math.abs(number);
  const sign = number < 0 ? "−" : "";
  if (size >= 1e6) return `${sign}${trim(size / 1e6)}m`;
  if (size >= 1e3) return `${sign}${trim(size / 1e3)}k`;
  return `${sign}${trim(size)}`;
}

function trim(number) {
  return String(Math.round(number * 100) / 100);
}
