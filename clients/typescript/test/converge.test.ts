import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { KalamClient, KalamError, type LiveRows, type Row } from "kalamdb";
import { Host } from "./host.js";
import { random, RoughProxy } from "./roughproxy.js";

const seeds = Number(process.env["CONVERGE_SEEDS"] ?? 2);
const firstSeed = Number(process.env["CONVERGE_FIRST"] ?? 1);

const host = new Host();
before(() => host.start());
after(() => host.remove());

test("queries have params, types and errors", async () => {
  const root = host.client("root", "dba"), ana = host.client("ana");
  await root.exec("CREATE NAMESPACE q; CREATE USER TABLE q.t (id BIGINT PRIMARY KEY, d DECIMAL(6,2), tags TEXT[], j JSON, big BIGINT)");
  const inserted = await ana.query("INSERT INTO q.t VALUES ($1, $2, $3, $4, $5)", [1, "1.5", ["a", null], { k: [1] }, "9223372036854775807"]);
  assert.equal(inserted.affected_rows, 1);
  assert.ok(inserted.seq! > 0);
  const { rows, columns } = await ana.query<{ id: number; big: string }>("SELECT * FROM q.t WHERE id = $1", [1]);
  assert.deepEqual({ ...rows[0]!, _updated: 0 }, { id: 1, d: "1.50", tags: ["a", null], j: { k: [1] }, big: "9223372036854775807", _updated: 0, _deleted: false });
  assert.deepEqual(columns![1], { name: "d", type: "DECIMAL(6,2)" });
  await assert.rejects(ana.query("SELECT * FROM q.tt"), (e) => e instanceof KalamError && e.code === "TABLE_NOT_FOUND" && e.status === 400 && e.position === 14);
  await assert.rejects(ana.liveRows("SELECT * FROM q.tt").ready, { code: "TABLE_NOT_FOUND" });
  await assert.rejects(ana.liveRows("SELECT id FROM q.t", { key: ["no"] }).ready, { code: "KEY_NOT_FOUND" });
  ana.close();
});

/** Live queries, each of which has to equal its own SELECT. */
const queries: [string, string[] | undefined][] = [
  ["SELECT * FROM app.t WHERE room = 'a'", undefined],
  ["SELECT n, room FROM app.t WHERE n % 3 <> 0", undefined],
  ["SELECT _seq, _updated, n AS m, id FROM app.t", ["id"]],
  ["SELECT * FROM app.shared WHERE v > 10", undefined],
];

/** One random statement of plain users. */
function statement(rng: () => number): string {
  const int = (n: number) => Math.floor(rng() * n);
  const room = () => "abc"[int(3)]!;
  const value = () =>
    `('${room()}', ${int(1e6)}, ${["1.5", "'nan'::DOUBLE", "-0.0", "NULL", "1e300"][int(5)]}, ${int(1000)}.5, ${[`'{"b": 1, "a":[1, 2.50, null]}'`, "NULL", `' "x" '`][int(3)]}, ${["['x', NULL]", "[]", "NULL"][int(3)]})`;
  switch (int(10)) {
    case 0:
    case 1:
    case 2:
      return `INSERT INTO app.t (room, n, f, d, j, tags) VALUES ${Array.from({ length: 1 + int(20) }, value).join(", ")}`;
    case 3:
    case 4:
      return `UPDATE app.t SET n = n // 2 + 1, j = NULL WHERE id % ${2 + int(9)} = 0`;
    case 5:
      return `UPDATE app.t SET room = '${room()}' WHERE id % 10 = ${int(10)}`;
    case 6:
      return `DELETE FROM app.t WHERE id % 20 = ${int(20)}`;
    case 7:
      return `INSERT INTO app.shared VALUES (${int(20)}, ${int(20)}) ON CONFLICT (k) DO UPDATE SET v = excluded.v`;
    case 8:
      return `DELETE FROM app.shared WHERE k = ${int(20)}`;
  }
  return `BEGIN; INSERT INTO app.t (room, n, f, d, j, tags) VALUES ${value()}; UPDATE app.t SET n = n + 1 WHERE room = '${room()}'; DELETE FROM app.t WHERE n % 17 = 0; COMMIT`;
}

const lines = (rows: readonly Row[]) => rows.map((r) => JSON.stringify(r)).sort();

/** Waits until a view is what the server says. */
async function settle(sql: string, view: LiveRows): Promise<void> {
  const want = lines((await host.client("ana").query(sql)).rows);
  const same = () => JSON.stringify(lines(view.rows)) === JSON.stringify(want);
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => {
      leave();
      const got = lines(view.rows);
      reject(new Error(`${sql}: ${got.length} rows, expected ${want.length}; too much ${got.filter((l) => !want.includes(l)).slice(0, 5)}; missing ${want.filter((l) => !got.includes(l)).slice(0, 5)}; ${view.error}`));
    }, 60_000);
    const look = () => {
      if (!same()) return;
      clearTimeout(late);
      leave();
      resolve();
    };
    const leave = view.subscribe(look);
    look();
  });
}

for (let seed = firstSeed; seed < firstSeed + seeds; seed++)
  test(`views converge to their SELECT over a rough network, seed ${seed}`, { timeout: 180_000 }, async (t) => {
    const rng = random(seed);
    const exec = (user: string, role: string, sql: string) => host.client(user, role).exec(sql);
    await exec("root", "dba", `DROP TABLE IF EXISTS app.t; DROP TABLE IF EXISTS app.shared; CREATE NAMESPACE IF NOT EXISTS app;
      CREATE USER TABLE app.t (id BIGINT AUTO_INCREMENT, room TEXT, n BIGINT, f DOUBLE, d DECIMAL(12,3), j JSON, tags TEXT[]);
      CREATE SHARED TABLE app.shared (k INT PRIMARY KEY, v INT) WITH (access = 'public')`);
    const proxy = new RoughProxy(random(seed + 1000));
    proxy.target = host.port;
    const client = new KalamClient({ url: await proxy.start(), getToken: () => host.token("ana", "user"), silenceMs: 2000 });
    try {
      const views = queries.map(([sql, key]) => client.liveRows(sql, key && { key }));
      for (let round = 0; round < 4; round++) {
        proxy.enrage();
        for (let i = 0; i < 25; i++) {
          await exec("ana", "user", statement(rng));
          if (rng() < 0.05) await exec("root", "dba", "FLUSH ALL");
        }
        if (round === 1) {
          await host.kill();
          await host.start();
          proxy.target = host.port;
        }
        if (round === 2) {
          await exec("root", "dba", "ALTER TABLE app.t ADD COLUMN late INT DEFAULT 7");
          proxy.cutAll();
        }
        await exec("ana", "user", statement(rng));
        proxy.soothe();
        for (const [i, v] of views.entries()) await settle(queries[i]![0], v);
      }
      assert.deepEqual(views.map((v) => v.resyncs), [0, 0, 0, 0]);
      t.diagnostic(`faults ${JSON.stringify(proxy.faults)}`);
    } finally {
      client.close();
      proxy.close();
      while (true) {
        // The server lets go of live queries a moment after their connection.
        const { rows } = await host.client("root", "dba").query<{ n: string }>("SELECT count(*) AS n FROM system.live_queries");
        if (Number(rows[0]!.n) === 0) break;
      }
    }
  });
