import { pauseMs, type Connection, type Subscriber } from "./connection.js";
import { errorOf, KalamError, passes } from "./errors.js";
import type { Change, Column, Cursor, Frame } from "./protocol.js";

export interface SubscribeOptions {
  /** Start with up to so many rows that are there; none without it. */
  lastRows?: number;
  /** Resume after it, or start with lastRows if that is too late. */
  from?: Cursor;
  /** Rows in one frame. */
  batchRows?: number;
  /** Ask for a DELETE of what goes by its age, too. */
  includeExpired?: boolean;
}

export interface SubscriptionHandlers<T> {
  /** All rows there are, with lastRows only. It comes again when the cursor has expired: then what was before is void. */
  onSnapshot?(rows: T[], columns: Column[]): void;
  /** The changes of one transaction, each once and in order. */
  onChange?(changes: Change<T>[]): void;
  /** The live query is over: KILLED, TABLE_DROPPED, or what the server has against it. */
  onEnd?(error: KalamError): void;
  /** Before a resumed query goes on with columns that are other than before: true asks for all rows again. */
  onColumns?(columns: Column[]): boolean;
}

const rightMs = 60_000; // how long a copy has to be right for a wrong one to be forgotten

/**
 * One live query. Its cursor is the seq of the last transaction that the handlers heard
 * of whole; what arrives is kept back until its transaction or snapshot is complete.
 */
export class Subscription<T> implements Subscriber {
  /** For the connection, as all of Subscriber. */
  id: string | undefined;

  private over = false;
  private epoch: string | undefined; // of what is arriving
  private columns: Column[] = [];
  private rows: T[] = []; // of a snapshot that is arriving
  private changes: Change<T>[] = []; // of a transaction that is arriving
  private failures = 0;
  private failedAt = 0;
  private at: Cursor | undefined;

  constructor(
    private readonly connection: Connection,
    readonly sql: string,
    private readonly o: SubscribeOptions,
    private readonly on: SubscriptionHandlers<T>,
  ) {
    this.at = o.from;
  }

  /** Where to go on after what the handlers have heard. */
  get cursor(): Cursor | undefined {
    return this.at;
  }

  /** Ends the live query; the handlers hear no more. */
  close(): void {
    this.over = true;
    this.connection.remove(this);
  }

  start(): object {
    this.rows = [];
    this.changes = [];
    const from = this.at
      ? { from_seq: this.at.seq, epoch: this.at.epoch || undefined }
      : { last_rows: this.o.lastRows || undefined };
    return { ...from, batch_rows: this.o.batchRows, include_expired: this.o.includeExpired || undefined };
  }

  /** Ends the live query with an error. */
  fail(error: KalamError): void {
    if (this.over) return;
    this.close();
    this.call(() => this.on.onEnd?.(error));
  }

  /** Takes all rows again: the copy made of the changes is wrong. */
  resync(): void {
    this.at = undefined;
    this.again();
  }

  receive(f: Frame): void {
    switch (f.type) {
      case "subscribed":
        this.subscribed(f);
        return;
      case "initial_data":
        for (const r of f.rows ?? []) this.rows.push(r as T);
        if (!f.has_more) {
          const rows = this.rows;
          this.rows = [];
          this.advance(f.seq!);
          this.call(() => this.on.onSnapshot?.(rows, this.columns));
        }
        return;
      case "change":
        this.changed(f);
        return;
      case "checkpoint":
        if (this.at && this.changes.length === 0) this.advance(Math.max(this.at.seq, f.seq!));
        return;
      case "ended":
        if (f.reason === "killed" || f.reason === "table_dropped")
          this.fail(new KalamError(f.reason.toUpperCase(), `the server ended the live query: ${f.reason}`));
        else this.again();
        return;
      case "error":
        this.refused(f);
        return;
    }
  }

  private subscribed(f: Frame): void {
    const columns = f.columns ?? [];
    if (f.resumed && this.o.lastRows && this.on.onColumns?.(columns)) {
      this.at = undefined;
      this.connection.again(this, 0);
      return;
    }
    this.columns = columns;
    this.epoch = f.epoch;
    if (f.resumed && this.at) this.advance(this.at.seq);
    else if (!this.o.lastRows) this.advance(f.seq!);
  }

  private advance(seq: number): void {
    this.at = this.epoch ? { seq, epoch: this.epoch } : { seq };
  }

  private changed(f: Frame): void {
    if (this.at && (f.seq! < this.at.seq || (f.seq === this.at.seq && f.reason !== "expired"))) return; // heard of before
    const change: Change<T> = { type: f.change_type!, rows: (f.rows ?? []) as T[], seq: f.seq! };
    if (f.old_values) change.oldRows = f.old_values as T[];
    if (f.reason) change.reason = f.reason;
    this.changes.push(change);
    if (f.txn_last === false) return;
    const changes = this.changes;
    this.changes = [];
    this.advance(f.seq!);
    this.call(() => this.on.onChange?.(changes));
  }

  private refused(f: Frame): void {
    const error = errorOf(f);
    if (f.code === "CURSOR_EXPIRED" && this.at && this.o.lastRows) {
      this.at = undefined;
      this.connection.again(this, 0);
    } else if (passes(error)) this.again();
    else this.fail(error);
  }

  /** Subscribes anew after a pause. */
  private again(): void {
    if (Date.now() - this.failedAt > rightMs) this.failures = 0;
    this.failedAt = Date.now();
    this.connection.again(this, pauseMs(this.failures++));
  }

  /** Keeps what a handler throws from the connection. */
  private call(f: () => void): void {
    try {
      f();
    } catch (e) {
      queueMicrotask(() => {
        throw e;
      });
    }
  }
}
