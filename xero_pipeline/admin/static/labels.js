// The labels of the API's codes: kinds of figures, statuses, columns, categories.

export const SYNC_TYPES = {
  profit_and_loss: "Profit and loss",
  invoices: "Invoices and credit notes",
  bank_summary: "Bank balances",
  profit_and_loss_monthly: "Profit and loss of the month",
  bank_summary_monthly: "Bank balances of the month",
};

/** Those that a run of a week reads; the others belong to a month. */
export const WEEKLY_SYNC_TYPES = ["profit_and_loss", "invoices", "bank_summary"];

export const STATUS = {
  success: { text: "Success", tone: "good", icon: "check" },
  partial: { text: "Partial", tone: "warn", icon: "alert" },
  failed: { text: "Failed", tone: "bad", icon: "cross-circle" },
  running: { text: "Running", tone: "busy", icon: "clock" },
};

export const CATEGORIES = {
  trading_income: "Trading income",
  cost_of_sales: "Cost of sales",
  other_income: "Other income",
  operating_expenses: "Operating expenses",
};

export const TABLES = {
  financial_weekly: "Profit and loss",
  financial_weekly_lines: "Profit and loss, account",
  revenue_weekly: "Revenue",
  cash_position_weekly: "Cash",
  financial_monthly: "Profit and loss of the month",
  financial_monthly_lines: "Profit and loss of the month, account",
  cash_position_monthly: "Cash of the month",
};

export const ACTIONS = {
  sign_in: "Sign-in",
  sign_out: "Sign-out",
  rotate_key: "Key rotation",
  add_access: "Give access",
  remove_access: "Take access",
  export: "Export of figures",
};

/** "retrospective" → "Retrospective", "gross_profit" → "Gross profit", "closingCash" → "Closing cash". */
export function humanise(name) {
  const words = String(name).replaceAll("_", " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase().trim();
  return words ? words[0].toUpperCase() + words.slice(1) : "";
}

/** What went wrong, in one line. */
export function problemSummary(errorLog) {
  if (!errorLog) return null;
  if (typeof errorLog === "string") return errorLog;
  if (errorLog.message) return errorLog.message;
  const count = differencesOf(errorLog).length;
  if (count > 0) return `${count} ${count === 1 ? "figure does" : "figures do"} not add up against Xero’s own totals.`;
  if (Array.isArray(errorLog.notes) && errorLog.notes.length > 0) return `${errorLog.notes.length} notes`;
  return "There is no message.";
}

export function differencesOf(errorLog) {
  const differences = Array.isArray(errorLog) ? errorLog : errorLog?.differences;
  return Array.isArray(differences) ? differences : [];
}
