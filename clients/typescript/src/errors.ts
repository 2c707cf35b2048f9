/** What the server says when it refuses a request or a live query. */
export class KalamError extends Error {
  override name = "KalamError";

  constructor(
    /** Stable, such as TABLE_NOT_FOUND. */
    readonly code: string,
    message: string,
    /** Of HTTP; 0 if the error came over a WebSocket. */
    readonly status = 0,
    /** More, such as the nearest name. */
    readonly details?: string,
    /** The index of the statement that failed. */
    readonly statementIndex?: number,
    /** The byte offset in the SQL text. */
    readonly position?: number,
    /** When to try again, in milliseconds. */
    readonly retryAfterMs?: number,
  ) {
    super(details ? `${message} (${details})` : message);
  }
}

interface ErrorFields {
  code?: string;
  message?: string;
  details?: string;
  statement_index?: number;
  position?: number;
}

/** The error in a frame or an answer. */
export function errorOf(f: ErrorFields, status = 0, retryAfterMs?: number): KalamError {
  return new KalamError(f.code ?? `HTTP_${status}`, f.message ?? `the server answered ${status}`, status, f.details, f.statement_index, f.position, retryAfterMs);
}

const passing = new Set(["BUSY", "RATE_LIMITED", "NOT_READY", "INTERNAL", "BUFFER_FULL"]);

/** Says whether the same request may succeed later. */
export function passes(e: unknown): boolean {
  return !(e instanceof KalamError) || e.status >= 500 || e.status === 429 || passing.has(e.code);
}
