// The form of the download. The browser sends it as it is: the answer is the file.

import { byId } from "./dom.js";

export function downloadForm() {
  const form = byId("download-form");
  const table = byId("download-table");
  const format = byId("download-format");
  const csv = format.querySelector("option[value=csv]");

  /** A CSV file has one table: all of them are a workbook. */
  function offer() {
    csv.disabled = table.value === "";
    if (csv.disabled) format.value = "xlsx";
  }

  table.addEventListener("change", offer);
  form.addEventListener("submit", () => {
    // what is empty is not sent
    const empty = [...form.elements].filter((field) => field.name && field.value === "");
    for (const field of empty) field.disabled = true;
    window.setTimeout(() => {
      for (const field of empty) field.disabled = false;
    });
  });
  offer();
}
