import { Connection } from "./connection.js";
import { errorOf, KalamError } from "./errors.js";
import { LiveRows, type LiveRowsOptions } from "./liverows.js";
import type { Result, Row, Value } from "./protocol.js";
import { Subscription, type SubscribeOptions, type SubscriptionHandlers } from "./subscription.js";

export interface ClientOptions {
  /** The server, such as https://db.example.com. */
  url: string;
  /** The token of the user. */
  token?: string;
  /** Gives a token: the first if there is none, and again when the server refuses the one in use or says that it is about to end. */
  getToken?: () => Promise<string> | string;
  /** Who to act as on a server in dev mode, without a token; on Node only for live queries. */
  userId?: string;
  /** Of unqualified table names in queries. */
  namespace?: string;
  /** How long the server may say nothing before the WebSocket counts as lost: 45,000. The client pings after a third of it. */
  silenceMs?: number;
  /** Hears why the WebSocket was lost, and the pause before the next. */
  onRetry?: (error: Error, pauseMs: number) => void;
}

export interface RequestOptions {
  signal?: AbortSignal;
}

/** Speaks to one server as one user. All its live queries share one WebSocket, which is there while there are any. */
export class KalamClient {
  private token: string | undefined;
  private asking: Promise<string> | undefined;
  private readonly connection: Connection;
  private readonly url: string;

  constructor(private readonly options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, "");
    this.token = options.token;
    this.connection = new Connection({
      url: this.url.replace(/^http/, "ws") + "/ws",
      userId: options.userId,
      silenceMs: options.silenceMs ?? 45_000,
      token: (stale) => this.newestToken(stale),
      probe: () => this.exec("SELECT 1"),
      onRetry: options.onRetry,
    });
  }

  /** Runs one statement; params bind $1 … $n. */
  async query<T = Row>(sql: string, params: Value[] = [], o: RequestOptions = {}): Promise<Result<T>> {
    const results = await this.exec<T>(sql, params, o);
    if (results.length !== 1) throw new Error(`the SQL text has ${results.length} statements, expected one`);
    return results[0]!;
  }

  /** Runs one or more statements. Those before one that fails stay done. */
  async exec<T = Row>(sql: string, params: Value[] = [], o: RequestOptions = {}): Promise<Result<T>[]> {
    const token = await this.newestToken();
    try {
      return await this.post<T>(token, sql, params, o);
    } catch (e) {
      if (!(e instanceof KalamError) || e.status !== 401) throw e;
      const newer = await this.newestToken(token);
      if (newer === token) throw e;
      return await this.post<T>(newer, sql, params, o); // nothing had run
    }
  }

  /**
   * A live query: SELECT columns or * FROM t [WHERE …]. It outlives connections: the
   * handlers hear of each change once.
   */
  subscribe<T = Row>(sql: string, options: SubscribeOptions, on: SubscriptionHandlers<T>): Subscription<T> {
    const s = new Subscription<T>(this.connection, sql, options, on);
    this.connection.add(s);
    return s;
  }

  /** The rows of a live query, which stay equal to its SELECT. */
  liveRows<T = Row>(sql: string, options: LiveRowsOptions = {}): LiveRows<T> {
    return new LiveRows<T>(sql, options, (o, on) => this.subscribe<T>(sql, o, on));
  }

  /** Ends all live queries. */
  close(): void {
    this.connection.close();
  }

  private async post<T>(token: string | undefined, sql: string, params: Value[], o: RequestOptions): Promise<Result<T>[]> {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (token) headers["Authorization"] = `Bearer ${token}`;
    else if (this.options.userId) headers["X-User-Id"] = this.options.userId;
    const body = JSON.stringify({ sql, params: params.length ? params : undefined, namespace: this.options.namespace });
    const answer = await fetch(`${this.url}/api/sql`, { method: "POST", headers, body, signal: o.signal ?? null });
    const text = await answer.text();
    let parsed: { results?: Result<T>[]; error?: object };
    try {
      parsed = JSON.parse(text) as typeof parsed;
    } catch {
      parsed = {}; // a proxy's
    }
    if (!answer.ok || !parsed.results) {
      const seconds = Number(answer.headers.get("Retry-After") ?? NaN);
      throw errorOf(parsed.error ?? {}, answer.status, Number.isFinite(seconds) ? seconds * 1000 : undefined);
    }
    return parsed.results;
  }

  /** The token in use, or another one if that is stale or there is none. */
  private async newestToken(stale?: string): Promise<string | undefined> {
    if (!this.options.getToken || this.token !== stale) return this.token;
    this.asking ??= Promise.resolve(this.options.getToken()).finally(() => (this.asking = undefined));
    return (this.token = await this.asking);
  }
}
