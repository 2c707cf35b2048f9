import assert from "node:assert/strict";
import { test } from "node:test";
import { openSocket } from "../dist/socket.js";
import { fakeServer, type FakeSocket } from "./fakeserver.js";

test("the WebSocket of a browser sends, hears and closes", async () => {
  let heard: object | undefined;
  const server = await fakeServer([
    async (s: FakeSocket) => {
      heard = await s.hears();
      s.says({ hello: "ü" });
      s.cut(1008);
    },
  ]);
  const log: unknown[] = [];
  await new Promise<void>((resolve) => {
    const socket = openSocket(server.url.replace("http", "ws") + "/ws", { token: "a b", userId: undefined }, {
      open: () => socket.send('{"type":"x"}'),
      message: (text) => log.push(text),
      close: (code) => {
        log.push(code);
        resolve();
      },
    });
  });
  assert.deepEqual(heard, { type: "x" });
  assert.deepEqual(log, ['{"hello":"ü"}', 1008]);
  server.close();
});
