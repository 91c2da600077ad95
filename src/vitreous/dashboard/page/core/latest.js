// Of a burst of requests only the newest matters; the one under way is let finish first, so that
// following the pointer decodes as fast as the server can and no faster.

/** Wrap an async function: calls during a run collapse into one more run with the last arguments. */
export function latest(fn) {
  let running = false;
  let waiting = null;
  const run = async (args) => {
    running = true;
    try {
      await fn(...args);
    } finally {
      running = false;
      if (waiting) {
        const next = waiting;
        waiting = null;
        run(next);
      }
    }
  };
  return (...args) => {
    if (running) waiting = args;
    else return run(args);
    return undefined;
  };
}
