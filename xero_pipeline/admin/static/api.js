// The HTTP API, and how it can fail. Nothing else here talks to the server.

const ROOT = "/api/v1/xero";
const PATIENCE = 30000;

/** What the server (or the way to it) said: a sentence for a person. */
export class ApiError extends Error {
  constructor(message, { code = "unreachable", status = 0 } = {}) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function call(method, path, { body, query, patience = PATIENCE } = {}) {
  const url = new URL(ROOT + path, window.location.origin);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
      cache: "no-store",
    });
  } catch (error) {
    throw new ApiError(
      error.name === "TimeoutError"
        ? "The server took too long to answer."
        : "The server does not answer. Is the admin page still running?",
    );
  }
  return read(answer);
}

async function read(answer) {
  let said = null;
  try {
    said = await answer.json();
  } catch {
    if (answer.ok) throw new ApiError("The server answered something that is not JSON.", { status: answer.status });
  }
  if (answer.ok) return said;
  if (answer.status === 401) {
    // The sign-in has run out: whatever was to be shown needs a new one.
    window.location.assign("/login");
  }
  const message = said?.error?.message ?? `The server answered with an error (${answer.status}).`;
  throw new ApiError(message, { code: said?.error?.code ?? "error", status: answer.status });
}

export const api = {
  status: () => call("GET", "/standing"),
  disconnect: (tenantId) => call("POST", "/disconnect", { body: tenantId ? { tenantId } : {} }),
  startSync: (weekEnding) => call("POST", "/sync", { query: { wait: "false", weekEnding }, body: {} }),
  run: (runId) => call("GET", `/runs/${encodeURIComponent(runId)}`),
  syncLogs: async (limit) => listed(await call("GET", "/sync-logs", { query: { limit } }), "logs"),
  scheduler: (on) => call("POST", on ? "/scheduler/start" : "/scheduler/stop", { body: {} }),
  summary: (weeks, currency) => call("GET", "/summary", { query: { weeks, currency } }),
  week: (ending) => call("GET", `/weeks/${encodeURIComponent(ending)}`),
  restatements: async (limit) => listed(await call("GET", "/restatements", { query: { limit } }), "restatements"),
};

/** A list that stands bare, or under its name. */
function listed(said, name) {
  if (Array.isArray(said)) return said;
  return Array.isArray(said?.[name]) ? said[name] : [];
}
