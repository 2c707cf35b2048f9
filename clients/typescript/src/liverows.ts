import { KalamError } from "./errors.js";
import type { Change, Column, Row } from "./protocol.js";
import type { Subscription, SubscribeOptions, SubscriptionHandlers } from "./subscription.js";

export interface LiveRowsOptions {
  /**
   * Columns that tell the rows apart, such as the primary key. Without it rows are told
   * apart by all their columns but _seq, _updated and _deleted, which is right as long as
   * rows that are alike in the rest need not be told apart.
   */
  key?: string[];
  /** Begin with the newest so many rows instead of all. Later rows are added to them. */
  newest?: number;
  /** Let rows go that go by their age, such as those of STREAM tables. */
  includeExpired?: boolean;
}

/** How many rows a LiveRows can begin with. */
const rowsMax = 1_000_000;

const ofSystem = new Set(["_seq", "_updated", "_deleted"]);

/**
 * The rows of a live query, which stay equal to its SELECT: changes are applied in the
 * order of commits, those of one transaction at once. A lost connection is resumed; if
 * that is not possible all rows are fetched again and replaced at once.
 */
export class LiveRows<T = Row> {
  /** Resolves when the first rows are there, maybe none; rejects when there will be none. */
  readonly ready: Promise<void>;

  /** Calls listener after each change of rows or error; the result ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private readonly subscription: Subscription<T>;
  private readonly listeners = new Set<() => void>();
  private columns: Column[] = [];
  private identity: string[] = [];
  private slots = new Map<number, T>(); // in the order of their numbers
  private byKey = new Map<string, number[]>(); // slots with a key, the oldest first
  private next = 0;
  private list: readonly T[] | undefined; // of slots; made when asked for
  private failure: KalamError | undefined;
  private wrong = 0;
  private resolve!: () => void;
  private reject!: (e: KalamError) => void;

  constructor(
    sql: string,
    private readonly o: LiveRowsOptions,
    subscribe: (o: SubscribeOptions, on: SubscriptionHandlers<T>) => Subscription<T>,
  ) {
    this.ready = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.ready.catch(() => undefined); // who does not wait sees it in error
    const options: SubscribeOptions = { lastRows: o.newest ?? rowsMax, batchRows: 10_000 };
    if (o.includeExpired) options.includeExpired = true;
    this.subscription = subscribe(options, {
      onSnapshot: (rows, columns) => this.replace(sql, rows, columns),
      onChange: (changes) => this.apply(changes),
      onColumns: (columns) => JSON.stringify(columns) !== JSON.stringify(this.columns),
      onEnd: (e) => this.end(e),
    });
  }

  /**
   * The rows: those of the start from the oldest to the newest, then those that came
   * since; a changed row keeps its place. The array is another one after each change.
   */
  get rows(): readonly T[] {
    return (this.list ??= [...this.slots.values()]);
  }

  /** Why the rows change no more; undefined while they do. */
  get error(): KalamError | undefined {
    return this.failure;
  }

  /** How often the rows were found to be wrong, and were all fetched again. */
  get resyncs(): number {
    return this.wrong;
  }

  /** Ends the live query. The rows stay as they are. */
  close(): void {
    this.subscription.close();
    this.reject(new KalamError("CLOSED", "the view was closed before its first rows came"));
  }

  private end(e: KalamError): void {
    this.failure = e;
    this.reject(e);
    this.changed();
  }

  private replace(sql: string, rows: T[], columns: Column[]): void {
    const names = columns.map((c) => c.name);
    const lacking = this.o.key?.find((k) => !names.includes(k));
    if (lacking !== undefined || (!this.o.newest && rows.length >= rowsMax)) {
      this.subscription.fail(
        lacking !== undefined
          ? new KalamError("KEY_NOT_FOUND", `the key column ${lacking} is not among the columns of ${sql}`)
          : new KalamError("RESULT_TOO_LARGE", `a view holds less than ${rowsMax} rows: narrow the WHERE, or ask for the newest`),
      );
      return;
    }
    this.columns = columns;
    this.identity = this.o.key ?? names.filter((n) => !ofSystem.has(n));
    this.slots = new Map();
    this.byKey = new Map();
    for (const r of rows) this.add(r);
    this.changed();
    this.resolve();
  }

  private apply(changes: Change<T>[]): void {
    let missing = false;
    for (const c of changes)
      c.rows.forEach((r, i) => {
        if (c.type === "INSERT") {
          this.add(r);
          return;
        }
        const slot = this.take(c.type === "UPDATE" ? c.oldRows![i]! : r);
        missing ||= slot === undefined;
        if (c.type === "UPDATE") this.add(r, slot);
        else if (slot !== undefined) this.slots.delete(slot);
      });
    this.changed();
    // A row that is not there shows that the rows are not what the server has.
    if (!missing || this.o.newest) return;
    this.wrong++;
    this.subscription.resync();
  }

  private changed(): void {
    this.list = undefined;
    for (const f of [...this.listeners]) f();
  }

  private key(r: T): string {
    const values = r as Record<string, unknown>;
    return JSON.stringify(this.identity.map((name) => values[name]));
  }

  private add(r: T, slot = this.next++): void {
    const key = this.key(r);
    const same = this.byKey.get(key);
    if (same) same.push(slot);
    else this.byKey.set(key, [slot]);
    this.slots.set(slot, r);
  }

  /** Finds the row that is to go, and takes it out of byKey. */
  private take(r: T): number | undefined {
    const key = this.key(r);
    const same = this.byKey.get(key);
    const slot = same?.shift();
    if (same?.length === 0) this.byKey.delete(key);
    return slot;
  }
}
