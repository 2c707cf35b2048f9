import { createHash } from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";

/** The server's end of one WebSocket. */
export class FakeSocket {
  private unread = Buffer.alloc(0);
  private frames: object[] = [];
  private waiting: ((f: object) => void) | undefined;

  constructor(
    private readonly stream: Duplex,
    readonly token: string | undefined,
  ) {
    stream.on("error", () => stream.destroy());
    stream.on("data", (chunk: Buffer) => this.receive(chunk));
  }

  /** The next frame of the client that is no ping. */
  hears(): Promise<object> {
    const f = this.frames.shift();
    return f ? Promise.resolve(f) : new Promise((resolve) => (this.waiting = resolve));
  }

  /** Sends a frame, in pieces if it is long. */
  says(frame: object): void {
    const data = Buffer.from(JSON.stringify(frame));
    for (let at = 0; at === 0 || at < data.length; at += 70_000) {
      const part = data.subarray(at, at + 70_000);
      const op = (at === 0 ? 1 : 0) | (at + 70_000 >= data.length ? 128 : 0);
      this.write(op, part);
    }
  }

  /** Sends one frame of RFC 6455, its first byte given. */
  write(op: number, data: Buffer): void {
    const head = Buffer.alloc(data.length < 126 ? 2 : data.length < 65536 ? 4 : 10);
    head[0] = op;
    head[1] = head.length === 2 ? data.length : head.length === 4 ? 126 : 127;
    if (head.length === 4) head.writeUInt16BE(data.length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(data.length), 2);
    this.stream.write(Buffer.concat([head, data]));
  }

  /** Ends the connection without a word, or with a close frame. */
  cut(code?: number): void {
    if (code === undefined) {
      this.stream.destroy();
      return;
    }
    this.write(0x88, Buffer.from([code >> 8, code & 255]));
  }

  private receive(chunk: Buffer): void {
    let b = Buffer.concat([this.unread, chunk]);
    while (b.length >= 6) {
      const long = (b[1]! & 127) === 126;
      const n = long ? b.readUInt16BE(2) : b[1]! & 127;
      const at = long ? 4 : 2;
      if (b.length < at + 4 + n) break;
      const data = Buffer.from(b.subarray(at + 4, at + 4 + n));
      for (let i = 0; i < n; i++) data[i]! ^= b[at + (i & 3)]!;
      const op = b[0]! & 15;
      b = b.subarray(at + 4 + n);
      if (op === 1) this.take(JSON.parse(data.toString()) as { type: string });
      if (op === 8) this.stream.end();
    }
    this.unread = b;
  }

  private take(f: { type: string }): void {
    if (f.type === "ping") {
      this.says({ type: "pong" });
      return;
    }
    const w = this.waiting;
    this.waiting = undefined;
    if (w) w(f);
    else this.frames.push(f);
  }
}

/** A server that runs one script for each WebSocket, in order, and answers every request with answer. */
export async function fakeServer(scripts: ((s: FakeSocket) => Promise<void>)[], answer: (m: IncomingMessage) => [number, object] = () => [200, { results: [] }]) {
  const failures: unknown[] = [];
  const streams = new Set<Duplex>();
  const server = createServer((m, reply) => {
    const [status, body] = answer(m);
    reply.writeHead(status).end(JSON.stringify(body));
  });
  server.on("upgrade", (m: IncomingMessage, stream: Duplex) => {
    streams.add(stream);
    const script = scripts.shift();
    const token = m.headers.authorization?.replace("Bearer ", "");
    if (!script || answer(m)[0] === 401) {
      stream.end(`HTTP/1.1 ${script ? 401 : 418} No\r\nContent-Length: 0\r\n\r\n`);
      if (script) scripts.unshift(script);
      return;
    }
    const accept = createHash("sha1").update(m.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
    stream.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    script(new FakeSocket(stream, token)).catch((e: unknown) => failures.push(e));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    failures,
    close: () => {
      for (const s of streams) s.destroy();
      server.closeAllConnections();
      server.close();
    },
  };
}
