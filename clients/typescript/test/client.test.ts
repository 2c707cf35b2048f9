import assert from "node:assert/strict";
import { test } from "node:test";
import { KalamClient, KalamError, type LiveRows } from "kalamdb";
import { fakeServer, type FakeSocket } from "./fakeserver.js";

const columns = [{ name: "a", type: "INT" }];
const allRows = { last_rows: 1_000_000, batch_rows: 10_000 };

interface A {
  a: number;
}

/** Waits until a view has rows. */
export async function shows(view: LiveRows<A>, want: number[]): Promise<void> {
  const same = () => JSON.stringify(view.rows.map((r) => r.a)) === JSON.stringify(want);
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`the view has ${JSON.stringify(view.rows)}, expected ${want}`)), 10_000);
    const look = () => {
      if (view.error) reject(view.error);
      if (!same() && !view.error) return;
      clearTimeout(late);
      leave();
      resolve();
    };
    const leave = view.subscribe(look);
    look();
  });
}

async function subscribes(s: FakeSocket, options: object): Promise<string> {
  const f = (await s.hears()) as { type: string; subscriptions: { query_id: string; sql: string; options: object }[] };
  assert.equal(f.type, "subscribe");
  assert.deepEqual(f.subscriptions[0]!.options, options);
  return f.subscriptions[0]!.query_id;
}

/** Runs scripts against a view of SELECT S. */
async function withView(scripts: ((s: FakeSocket) => Promise<void>)[], body: (v: LiveRows<A>, c: KalamClient) => Promise<void>, options: object = {}): Promise<void> {
  const server = await fakeServer(scripts);
  const client = new KalamClient({ url: server.url, token: "one", ...options });
  try {
    await body(client.liveRows<A>("S"), client);
  } finally {
    client.close();
    server.close();
  }
  assert.deepEqual(server.failures, []);
}

test("an expired cursor replaces all rows at once", async () => {
  let half!: () => void, rest!: () => void;
  const atHalf = new Promise<void>((r) => (half = r));
  const goOn = new Promise<void>((r) => (rest = r));
  await withView(
    [
      async (s) => {
        const q = await subscribes(s, allRows);
        s.says({ type: "subscribed", query_id: q, columns, seq: 5, epoch: "e1", resumed: false });
        s.says({ type: "initial_data", query_id: q, rows: [{ a: 1 }, { a: 2 }], has_more: false, seq: 5 });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 3 }], seq: 6 });
        s.cut();
      },
      async (s) => {
        const q = await subscribes(s, { from_seq: 6, epoch: "e1", batch_rows: 10_000 });
        s.says({ type: "error", query_id: q, code: "CURSOR_EXPIRED", message: "too old" });
        const again = await subscribes(s, allRows);
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 66 }], seq: 99 }); // of the old one
        s.says({ type: "subscribed", query_id: again, columns, seq: 90, epoch: "e2", resumed: false });
        s.says({ type: "initial_data", query_id: again, rows: [{ a: 7 }], has_more: true, seq: 90 });
        half();
        await goOn;
        s.says({ type: "initial_data", query_id: again, rows: [{ a: 8 }], has_more: false, seq: 90 });
      },
    ],
    async (v) => {
      await v.ready;
      await atHalf;
      await shows(v, [1, 2, 3]);
      rest();
      await shows(v, [7, 8]);
    },
  );
});

test("a transaction is applied at once, and from its beginning after a loss", async () => {
  const seen: number[][] = [];
  const update = { type: "change", change_type: "UPDATE", rows: [{ a: 2 }], old_values: [{ a: 1 }], seq: 6, txn_last: false };
  await withView(
    [
      async (s) => {
        const q = await subscribes(s, allRows);
        s.says({ type: "subscribed", query_id: q, columns, seq: 5, resumed: false });
        s.says({ type: "initial_data", query_id: q, rows: [{ a: 1 }, { a: 1 }], has_more: false, seq: 5 });
        s.says({ ...update, query_id: q });
        s.cut();
      },
      async (s) => {
        const q = await subscribes(s, { from_seq: 5, batch_rows: 10_000 });
        s.says({ type: "subscribed", query_id: q, columns, seq: 8, resumed: true });
        s.says({ ...update, query_id: q });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 9 }], seq: 7, txn_last: false });
        s.says({ type: "change", query_id: q, change_type: "DELETE", rows: [{ a: 1, _deleted: true }], seq: 8, txn_last: true });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 9 }], seq: 8 }); // sent before
        s.says({ type: "invented later", query_id: q });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 10 }], seq: 9 });
      },
    ],
    async (v) => {
      v.subscribe(() => seen.push(v.rows.map((r) => r.a)));
      await shows(v, [2, 9, 10]);
      assert.deepEqual(seen, [[1, 1], [2, 9], [2, 9, 10]]);
    },
  );
});

for (const [name, wrong] of Object.entries({
  "a change of a row that is not there": (s: FakeSocket, q: string) => {
    s.says({ type: "subscribed", query_id: q, columns, seq: 8, resumed: true });
    s.says({ type: "change", query_id: q, change_type: "DELETE", rows: [{ a: 4 }], seq: 7 });
  },
  "other columns": (s: FakeSocket, q: string) => s.says({ type: "subscribed", query_id: q, columns: [...columns, { name: "b", type: "INT" }], seq: 8, resumed: true }),
}))
  test(`${name} makes the view fetch all rows again`, () =>
    withView(
      [
        async (s) => {
          const q = await subscribes(s, allRows);
          s.says({ type: "subscribed", query_id: q, columns, seq: 5, resumed: false });
          s.says({ type: "initial_data", query_id: q, rows: [{ a: 1 }], has_more: false, seq: 5 });
          s.says({ type: "ended", query_id: q, reason: "lagged", seq: 5 });
          const resumed = await subscribes(s, { from_seq: 5, batch_rows: 10_000 });
          wrong(s, resumed);
          assert.deepEqual(await s.hears(), { type: "unsubscribe", query_id: resumed });
          const again = await subscribes(s, allRows);
          s.says({ type: "subscribed", query_id: again, columns, seq: 9, resumed: false });
          s.says({ type: "initial_data", query_id: again, rows: [{ a: 4 }, { a: 5 }], has_more: false, seq: 9 });
        },
      ],
      (v) => shows(v, [4, 5]),
    ));

test("tokens are renewed in time, and replaced when they have ended", async () => {
  let given = 0;
  const tokens: (string | undefined)[] = [];
  await withView(
    [
      async (s) => {
        tokens.push(s.token);
        const q = await subscribes(s, allRows);
        s.says({ type: "subscribed", query_id: q, columns, seq: 5, resumed: false });
        s.says({ type: "initial_data", query_id: q, rows: [], has_more: false, seq: 5 });
        s.says({ type: "token_expiring", expires_in_ms: 1000 });
        assert.deepEqual(await s.hears(), { type: "auth", token: "token 1" });
        s.says({ type: "error", code: "UNAUTHENTICATED", message: "not good enough" });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 1 }], seq: 6 });
        s.says({ type: "ended", query_id: q, reason: "auth_expired", seq: 6 });
      },
      async (s) => {
        tokens.push(s.token);
        await subscribes(s, { from_seq: 6, batch_rows: 10_000 });
        s.cut(1008);
      },
      async (s) => {
        tokens.push(s.token);
        const q = await subscribes(s, { from_seq: 6, batch_rows: 10_000 });
        s.says({ type: "subscribed", query_id: q, columns, seq: 6, resumed: true });
        s.says({ type: "change", query_id: q, change_type: "INSERT", rows: [{ a: 2 }], seq: 7 });
      },
    ],
    (v) => shows(v, [1, 2]),
    { getToken: () => `token ${++given}` },
  );
  assert.deepEqual(tokens, ["one", "token 2", "token 3"]);
});

test("what is final ends the view", async () => {
  for (const [frame, code] of [
    [{ type: "ended", reason: "killed", seq: 5 }, "KILLED"],
    [{ type: "error", code: "TABLE_NOT_FOUND", message: "no table" }, "TABLE_NOT_FOUND"],
  ] as const)
    await withView(
      [
        async (s) => {
          const q = await subscribes(s, allRows);
          s.says({ ...frame, query_id: q });
        },
      ],
      async (v) => {
        await assert.rejects(v.ready, { code });
        assert.equal(v.error?.code, code);
      },
    );
});

test("a token that no one takes is an error, not a retry", async () => {
  const server = await fakeServer([async () => {}], () => [401, { error: { code: "UNAUTHENTICATED", message: "no" } }]);
  const client = new KalamClient({ url: server.url, token: "bad" });
  await assert.rejects(client.liveRows("S").ready, { code: "UNAUTHENTICATED" });
  await assert.rejects(client.query("SELECT 1"), (e) => e instanceof KalamError && e.status === 401);
  client.close();
  server.close();
});

test("a cursor that has expired is an error where there are no rows to start again with", async () => {
  const server = await fakeServer([
    async (s) => {
      const q = await subscribes(s, { from_seq: 3, epoch: "e" });
      s.says({ type: "error", query_id: q, code: "CURSOR_EXPIRED", message: "too old" });
    },
  ]);
  const client = new KalamClient({ url: server.url, token: "t" });
  const error = await new Promise<KalamError>((resolve) => client.subscribe("S", { from: { seq: 3, epoch: "e" } }, { onEnd: resolve }));
  assert.equal(error.code, "CURSOR_EXPIRED");
  client.close();
  server.close();
});

test("a silent server is left, large frames arrive, and a key may be given", async () => {
  const rows = Array.from({ length: 20_000 }, (_, a) => ({ a, text: "ünïcode €" }));
  const server = await fakeServer([
    async (s) => {
      s.write = () => {}; // says nothing, not even pong
    },
    async (s) => {
      const q = await subscribes(s, allRows);
      s.says({ type: "subscribed", query_id: q, columns: [...columns, { name: "text", type: "TEXT" }], seq: 5, resumed: false });
      s.says({ type: "initial_data", query_id: q, rows, has_more: false, seq: 5 });
      s.says({ type: "change", query_id: q, change_type: "DELETE", rows: [{ a: 0, text: "other" }], seq: 6 });
    },
  ]);
  const retries: string[] = [];
  const client = new KalamClient({ url: server.url, token: "t", silenceMs: 300, onRetry: (e) => retries.push(e.message) });
  const view = client.liveRows<A>("S", { key: ["a"] });
  await shows(view, rows.slice(1).map((r) => r.a));
  assert.equal((view.rows[7] as unknown as { text: string }).text, "ünïcode €");
  assert.match(retries[0]!, /said nothing/);
  client.close();
  server.close();
});
