import { openSocket, type Socket } from "#socket";
import { errorOf, KalamError, passes } from "./errors.js";
import type { Frame } from "./protocol.js";

export interface ConnectionOptions {
  url: string;
  userId: string | undefined;
  silenceMs: number;
  /** The newest token, or another one than stale. */
  token(stale?: string): Promise<string | undefined>;
  /** A request that tells whether the token is good: a WebSocket does not say why it does not open. */
  probe(): Promise<unknown>;
  onRetry: ((error: Error, pauseMs: number) => void) | undefined;
}

/** What the connection knows of a subscription. */
export interface Subscriber {
  readonly sql: string;
  /** Its name at the server, given by the connection; undefined while it has none. */
  id: string | undefined;
  /** The options of a subscribe frame that goes on where the last has stopped. */
  start(): object;
  /** Takes a frame of the server. */
  receive(f: Frame): void;
  /** Ends it with an error. */
  fail(error: KalamError): void;
  close(): void;
}

const reconnectMinMs = 50;
const reconnectMaxMs = 15_000;

/** The pause before a try: doubling, half of it at random. */
export function pauseMs(failures: number): number {
  const whole = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(failures, 20));
  return whole / 2 + (Math.random() * whole) / 2;
}

/**
 * The one WebSocket of a client. Its life:
 *
 * 1. idle: there are no subscriptions.
 * 2. connecting: a token is fetched, then the socket is opened.
 * 3. open: each subscription is subscribed; frames go to the one whose id they have.
 * 4. lost: closed, or silent for too long. After a pause back to 2; each subscription
 *    goes on after its cursor.
 *
 * An id is used for one subscribe frame, so nothing of an earlier one is taken for it.
 */
export class Connection {
  private readonly subscriptions = new Set<Subscriber>();
  private readonly byId = new Map<string, Subscriber>();
  private socket: Socket | undefined; // from 2 to 4
  private open = false;
  private attempt = 0; // what belongs to an earlier one is void
  private failures = 0;
  private ids = 0;
  private token: string | undefined; // that the server has
  private stale: string | undefined; // the token that must not be used again
  private renewed = false;
  private heard = 0; // when the server said something last
  private asked = 0; // when it was asked to last, if it has not since
  private readonly pauses = new Set<ReturnType<typeof setTimeout>>();
  private beat: ReturnType<typeof setInterval> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly o: ConnectionOptions) {}

  add(s: Subscriber): void {
    this.subscriptions.add(s);
    if (this.open) this.subscribe(s);
    else if (!this.connecting()) void this.connect();
  }

  remove(s: Subscriber): void {
    this.release(s);
    this.subscriptions.delete(s);
    if (this.subscriptions.size === 0) this.drop();
  }

  /** Ends a subscription at the server and starts it anew after a pause. */
  again(s: Subscriber, afterMs: number): void {
    this.release(s);
    const pause = setTimeout(() => {
      this.pauses.delete(pause);
      if (this.subscriptions.has(s) && s.id === undefined) this.subscribe(s);
    }, afterMs);
    this.pauses.add(pause);
  }

  close(): void {
    for (const s of [...this.subscriptions]) s.close();
    this.drop();
  }

  private connecting(): boolean {
    return this.socket !== undefined || this.beat !== undefined || this.retry !== undefined;
  }

  private release(s: Subscriber): void {
    if (s.id === undefined) return;
    if (this.open && this.byId.has(s.id)) this.send({ type: "unsubscribe", query_id: s.id });
    this.byId.delete(s.id);
    s.id = undefined;
  }

  /** Goes back to 1. */
  private drop(): void {
    this.attempt++;
    clearInterval(this.beat);
    clearTimeout(this.retry);
    for (const p of this.pauses) clearTimeout(p);
    this.pauses.clear();
    this.beat = this.retry = undefined;
    this.open = false;
    this.socket?.close();
    this.socket = undefined;
    this.byId.clear();
    for (const s of this.subscriptions) s.id = undefined;
  }

  private async connect(): Promise<void> {
    this.drop();
    const attempt = this.attempt;
    this.asked = Date.now();
    this.heard = this.asked - 1;
    this.beat = setInterval(() => this.pulse(), this.o.silenceMs / 3);
    try {
      this.token = await this.o.token(this.stale);
    } catch (e) {
      if (attempt === this.attempt) this.lost(e as Error);
      return;
    }
    if (attempt !== this.attempt) return;
    this.stale = undefined;
    this.renewed = false;
    this.socket = openSocket(this.o.url, { token: this.token, userId: this.o.userId }, {
      open: () => {
        if (attempt !== this.attempt) return;
        this.open = true;
        this.heard = Date.now();
        for (const s of this.subscriptions) this.subscribe(s);
      },
      message: (text) => {
        if (attempt === this.attempt) this.receive(text);
      },
      close: (code, reason) => {
        if (attempt !== this.attempt) return;
        if (code === 1008) this.stale = this.token;
        if (this.open) this.lost(new Error(`the WebSocket was closed: ${reason || code}`));
        else void this.refused(reason || String(code));
      },
    });
  }

  /** Finds out why the WebSocket does not open. */
  private async refused(reason: string): Promise<void> {
    const attempt = this.attempt;
    this.socket = undefined;
    let why = new Error(`the WebSocket did not open: ${reason}`);
    try {
      await this.o.probe();
    } catch (e) {
      why = e as Error;
    }
    if (attempt !== this.attempt) return;
    if (why instanceof KalamError && !passes(why)) for (const s of [...this.subscriptions]) s.fail(why);
    else this.lost(why);
  }

  /** Pauses and connects again. */
  private lost(why: Error): void {
    this.drop();
    if (this.subscriptions.size === 0) return;
    const pause = Math.max(pauseMs(this.failures++), (why instanceof KalamError && why.retryAfterMs) || 0);
    this.o.onRetry?.(why, pause);
    this.retry = setTimeout(() => void this.connect(), pause);
  }

  /**
   * Asks the server for a sign of life, or finds that it has not given one. That a
   * browser calls this too rarely, as it does for pages nobody looks at, is no silence.
   */
  private pulse(): void {
    const now = Date.now();
    if (this.asked > this.heard) {
      if (now - this.asked >= (this.o.silenceMs * 2) / 3) this.lost(new Error(`the server said nothing for ${now - this.asked} ms`));
    } else if (this.open) {
      this.asked = now;
      this.send({ type: "ping" });
    }
  }

  private send(frame: object): void {
    this.socket?.send(JSON.stringify(frame));
  }

  private subscribe(s: Subscriber): void {
    s.id = `q${++this.ids}`;
    this.byId.set(s.id, s);
    this.send({ type: "subscribe", subscriptions: [{ query_id: s.id, sql: s.sql, options: s.start() }] });
  }

  private receive(text: string): void {
    this.heard = Math.max(Date.now(), this.asked);
    let f: Frame;
    try {
      f = JSON.parse(text) as Frame;
    } catch {
      this.lost(new Error("the server sent a frame that is not JSON"));
      return;
    }
    switch (f.type) {
      case "token_expiring":
        void this.renew();
        return;
      case "ended":
        if (f.reason === "auth_expired" || f.reason === "shutdown") {
          if (f.reason === "auth_expired") this.stale = this.token;
          this.lost(new Error(`the server ended the live queries: ${f.reason}`));
          return;
        }
        break;
      case "error":
        if (f.query_id !== undefined) break;
        if (!this.renewed) this.lost(errorOf(f)); // else the old token still counts
        return;
    }
    const s = f.query_id === undefined ? undefined : this.byId.get(f.query_id);
    if (!s) return;
    if (f.type === "subscribed") this.failures = 0;
    if (f.type === "ended" || f.type === "error") this.byId.delete(f.query_id!); // the server has forgotten it
    s.receive(f);
  }

  /** Gives the server another token. If there is none to be had, it ends the connection in time. */
  private async renew(): Promise<void> {
    const attempt = this.attempt;
    const token = await this.o.token(this.token).catch(() => undefined);
    if (attempt !== this.attempt || token === undefined || token === this.token) return;
    this.token = token;
    this.renewed = true;
    this.send({ type: "auth", token });
  }
}
