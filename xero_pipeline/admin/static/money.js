// Amounts are decimal strings ("-1234.50"). They are shown and added up exactly: no binary float touches them.
// Only a chart, which draws pixels, may use `approximately`.

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

function parts(amount) {
  const decimal = DECIMAL.exec(String(amount).trim());
  if (!decimal) return null;
  const [, sign, whole, fraction = ""] = decimal;
  return { negative: sign === "-" && /[1-9]/.test(whole + fraction), whole: whole.replace(/^0+(?=\d)/, ""), fraction };
}

/** "-1234.5" → "−1,234.50". Text that is no decimal is shown unchanged; a missing amount is "–". */
export function money(amount) {
  if (amount === null || amount === undefined || amount === "") return "–";
  const decimal = parts(amount);
  if (!decimal) return String(amount);
  const grouped = decimal.whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${decimal.negative ? "−" : ""}${grouped}.${decimal.fraction.padEnd(2, "0")}`;
}

/** A decimal as whole cents. More than two decimal places do not occur in these tables; they are cut off. */
export function cents(amount) {
  const decimal = parts(amount ?? "0");
  if (!decimal) return 0n;
  const value = BigInt(decimal.whole + decimal.fraction.padEnd(2, "0").slice(0, 2));
  return decimal.negative ? -value : value;
}

/** Whole cents as a decimal string. */
export function fromCents(value) {
  const digits = (value < 0n ? -value : value).toString().padStart(3, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** The exact sum of decimal strings, as a decimal string. */
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

/** A number for a chart to draw. It is never shown as text. */
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
