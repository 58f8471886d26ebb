// Dates and times as people read them: DD/MM/YYYY, and HH:mm in the pipeline's zone.

const WEEK = 7 * 24 * 60 * 60 * 1000;

/** "2026-11-21" → "21/11/2026". A day has no zone. */
export function day(iso) {
  const match = /^(\d{4})-(\d{2})-(\d{2})/.exec(iso ?? "");
  return match ? `${match[3]}/${match[2]}/${match[1]}` : "–";
}

/** "2026-11-21" → "21/11", for an axis. */
export function shortDay(iso) {
  return day(iso).slice(0, 5);
}

/** A time in a zone: "24/11/2026 06:00". */
export function moment(iso, timezone) {
  const at = new Date(iso);
  if (!iso || Number.isNaN(at.getTime())) return "–";
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: timezone, day: "2-digit", month: "2-digit", year: "numeric", hour: "2-digit", minute: "2-digit",
    hourCycle: "h23",
  });
  const part = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  return `${part.day}/${part.month}/${part.year} ${part.hour}:${part.minute}`;
}

/** How long ago: "5 hours ago". */
export function ago(iso, now = Date.now()) {
  const minutes = Math.round((now - new Date(iso).getTime()) / 60000);
  if (Number.isNaN(minutes)) return "";
  if (minutes < 1) return "just now";
  if (minutes < 60) return plural(minutes, "minute") + " ago";
  if (minutes < 48 * 60) return plural(Math.round(minutes / 60), "hour") + " ago";
  return plural(Math.round(minutes / 1440), "day") + " ago";
}

/** How long something took: "4 s", "1 min 20 s". */
export function duration(from, to) {
  const seconds = Math.round((new Date(to).getTime() - new Date(from).getTime()) / 1000);
  if (!from || !to || Number.isNaN(seconds) || seconds < 0) return "";
  if (seconds === 0) return "under 1 s";
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** The week ending `weeks` weeks later (or earlier, if negative), as "YYYY-MM-DD". */
export function shiftWeek(ending, weeks) {
  return new Date(Date.parse(`${ending}T00:00:00Z`) + weeks * WEEK).toISOString().slice(0, 10);
}

/** How many weeks `later` comes after `earlier`. */
export function weeksBetween(earlier, later) {
  return Math.round((Date.parse(`${later}T00:00:00Z`) - Date.parse(`${earlier}T00:00:00Z`)) / WEEK);
}

/** Fills a `<select>` with every week from the newest to the first, by year. */
export function fillWeeks(select, first, latest, nameOf = day) {
  select.replaceChildren();
  let group = null;
  for (let week = latest; week >= first; week = shiftWeek(week, -1)) {
    const year = week.slice(0, 4);
    if (!group || group.label !== year) {
      group = document.createElement("optgroup");
      group.label = year;
      select.append(group);
    }
    group.append(new Option(nameOf(week), week));
  }
}
