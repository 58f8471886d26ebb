// The client of the HTTP API. All requests to the server go through this module.

const ROOT = "/api/v1/xero";
const TIMEOUT_MS = 30000;

/** A failed request. The message is a sentence for people. */
export class ApiError extends Error {
  constructor(message, { code = "unreachable", status = 0 } = {}) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

// Tells the server that the page asks by itself, so that an open page does not keep an idle session alive.
const BACKGROUND = { "X-Background": "1" };

async function call(method, path, { body, query, timeout = TIMEOUT_MS, background = false } = {}) {
  const url = new URL(ROOT + path, window.location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(background ? BACKGROUND : {}) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
      cache: "no-store",
    });
  } catch (error) {
    throw new ApiError(
      error.name === "TimeoutError"
        ? "The server took too long to answer."
        : "The server does not answer. Is the admin page still running?",
    );
  }
  return readBody(response);
}

async function readBody(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new ApiError("The server answered something that is not JSON.", { status: response.status });
  }
  if (response.ok) return body;
  if (response.status === 401) {
    // The session has ended: sign in again.
    window.location.assign("/login");
  }
  const message = body?.error?.message ?? `The server answered with an error (${response.status}).`;
  throw new ApiError(message, { code: body?.error?.code ?? "error", status: response.status });
}

export const api = {
  status: (background = false) => call("GET", "/standing", { background }),
  disconnect: (tenantId) => call("POST", "/disconnect", { body: tenantId ? { tenantId } : {} }),
  startSync: (weekEnding) => call("POST", "/sync", { query: { wait: "false", weekEnding }, body: {} }),
  run: (runId) => call("GET", `/runs/${encodeURIComponent(runId)}`, { background: true }),
  syncLogs: (limit) => call("GET", "/sync-logs", { query: { limit } }),
  accept: (logId, note) => call("POST", `/sync-logs/${encodeURIComponent(logId)}/accept`, { body: { note } }),
  scheduler: (on) => call("POST", on ? "/scheduler/start" : "/scheduler/stop", { body: {} }),
  summary: (weeks, currency) => call("GET", "/summary", { query: { weeks, currency } }),
  week: (ending) => call("GET", `/weeks/${encodeURIComponent(ending)}`),
  month: (ending) => call("GET", `/months/${encodeURIComponent(ending)}`),
  explain: ({ week, ...figure }) => call("GET", `/weeks/${encodeURIComponent(week)}/explain`, { query: figure }),
  restatements: (limit) => call("GET", "/restatements", { query: { limit } }),
  audit: (limit) => call("GET", "/audit", { query: { limit } }),
  sessions: () => call("GET", "/sessions"),
  endSession: (id) => call("POST", "/sessions/end", { body: id === null ? {} : { id } }),
  persons: () => call("GET", "/access"),
  addPerson: (name, role) => call("POST", "/access/add", { body: { name, role } }),
  removePerson: (name) => call("POST", "/access/remove", { body: { name } }),
};
