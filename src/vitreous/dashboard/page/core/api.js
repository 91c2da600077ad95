// The page's only door to the server: requests, the server's one-line errors, equivalent commands.

/** An answer other than success; `message` is the server's own line. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const heard = new Set();

/** Call `fn(command)` with the equivalent command of every action. */
export function onCommand(fn) {
  heard.add(fn);
}

function tell(command) {
  if (command) for (const fn of heard) fn(command);
}

async function failure(response) {
  if (response.status === 401 || response.status === 403) {
    return "This page's session has ended: open the address that vitreous dashboard printed.";
  }
  try {
    const body = await response.json();
    if (body.error) return body.error;
  } catch {
    // Not JSON: the status line has to do.
  }
  return `The server answered ${response.status} ${response.statusText}.`;
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer: is vitreous dashboard still running?", 0);
  }
  if (!response.ok) throw new ApiError(await failure(response), response.status);
  const command = response.headers.get("X-Command");
  if (command && !options.quiet) tell(decodeURIComponent(command));
  return response;
}

const body = (data) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(data),
});

export const getJson = async (path, options) => (await request(path, options)).json();

export const postJson = async (path, data, options) =>
  (await request(path, { ...body(data), ...options })).json();

/** Bytes and headers; `quiet` leaves the command out of the log (frames of a film, hovering). */
export async function getBytes(path, options) {
  const response = await request(path, options);
  return { bytes: await response.arrayBuffer(), headers: response.headers };
}

export async function postBytes(path, data, options) {
  const response = await request(path, { ...body(data), ...options });
  return { bytes: await response.arrayBuffer(), headers: response.headers };
}

export const put = (path, data) => request(path, { ...body(data), method: "PUT" });

export const remove = (path) => request(path, { method: "DELETE" });

/** One column, one number per particle in the run's order. */
export async function column(name, kind) {
  const { bytes } = await getBytes(`api/columns/${encodeURIComponent(name)}`, { quiet: true });
  return kind === "category" ? new Uint16Array(bytes) : new Float32Array(bytes);
}
