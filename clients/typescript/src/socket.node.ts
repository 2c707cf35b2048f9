import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type ClientRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import type { Credentials, Socket, SocketHandlers } from "./socket.js";

const opContinuation = 0, opText = 1, opClose = 8, opPing = 9, opPong = 10;
const farewellMs = 1000; // for a close frame to leave
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // of RFC 6455

/** Opens a WebSocket on Node, whose versions before 22 have none. */
export function openSocket(url: string, who: Credentials, on: SocketHandlers): Socket {
  return new NodeSocket(url, who, on);
}

/**
 * The client side of RFC 6455 as far as KalamDB needs it: text messages, ping, pong
 * and close, no extensions.
 */
class NodeSocket implements Socket {
  private readonly request: ClientRequest;
  private stream?: Duplex;
  private over = false;
  private unread: Buffer[] = [];
  private unreadBytes = 0;
  private neededBytes = 2; // of unread, until a frame can be read
  private parts: Buffer[] = []; // of a message in several frames
  private closing = { code: 1006, reason: "the connection was lost" };

  constructor(url: string, who: Credentials, private readonly on: SocketHandlers) {
    const address = new URL(url);
    address.protocol = address.protocol === "wss:" ? "https:" : "http:";
    const key = randomBytes(16).toString("base64");
    const headers: Record<string, string> = {
      Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    };
    if (who.token) headers["Authorization"] = `Bearer ${who.token}`;
    else if (who.userId) headers["X-User-Id"] = who.userId;
    this.request = (address.protocol === "https:" ? httpsRequest : httpRequest)(address, { headers, agent: false });
    this.request.on("error", (e) => this.end(1006, e.message));
    this.request.on("response", (answer) => {
      answer.resume();
      this.end(1006, `the server answered ${answer.statusCode}`);
    });
    this.request.on("upgrade", (answer, stream, head) => {
      const accept = createHash("sha1").update(key + guid).digest("base64");
      stream.on("error", () => stream.destroy());
      if (this.over || answer.headers["sec-websocket-accept"] !== accept) {
        stream.destroy();
        this.end(1006, "the answer to the handshake is not of a WebSocket server");
        return;
      }
      this.stream = stream;
      stream.on("data", (chunk: Buffer) => this.receive(chunk));
      stream.on("close", () => this.end(this.closing.code, this.closing.reason));
      stream.on("end", () => stream.destroy());
      on.open();
      if (head.length > 0) this.receive(head);
    });
    this.request.end();
  }

  send(text: string): void {
    this.write(opText, Buffer.from(text));
  }

  close(): void {
    if (this.over) return;
    this.over = true;
    const stream = this.stream;
    if (!stream) {
      this.request.destroy();
      return;
    }
    this.write(opClose, Buffer.from([1000 >> 8, 1000 & 255]));
    const patience = setTimeout(() => stream.destroy(), farewellMs);
    stream.on("close", () => clearTimeout(patience));
    stream.end(() => stream.destroy());
  }

  private end(code: number, reason: string): void {
    if (this.over) return;
    this.over = true;
    this.request.destroy();
    this.stream?.destroy();
    this.on.close(code, reason);
  }

  /** Sends one masked frame. */
  private write(op: number, data: Buffer): void {
    const stream = this.stream;
    if (!stream || stream.destroyed || stream.writableEnded) return;
    const n = data.length;
    const head = n < 126 ? Buffer.alloc(2) : n < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
    head[0] = 0x80 | op;
    head[1] = 0x80 | (n < 126 ? n : n < 65536 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(n, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(n), 2);
    const mask = randomBytes(4);
    const masked = Buffer.allocUnsafe(n);
    for (let i = 0; i < n; i++) masked[i] = data[i]! ^ mask[i & 3]!;
    stream.write(Buffer.concat([head, mask, masked]));
  }

  private receive(chunk: Buffer): void {
    this.unread.push(chunk);
    this.unreadBytes += chunk.length;
    if (this.unreadBytes < this.neededBytes) return;
    let b = this.unread.length === 1 ? chunk : Buffer.concat(this.unread);
    while (!this.over) {
      let [n, at] = [b.length < 2 ? 0 : b[1]! & 127, 2];
      if (n >= 126) at = n === 126 ? 4 : 10;
      if (b.length >= at && n === 126) n = b.readUInt16BE(2);
      else if (b.length >= at && n === 127) n = Number(b.readBigUInt64BE(2));
      this.neededBytes = at + n;
      if (b.length < this.neededBytes) break;
      const [op, data] = [b[0]!, b.subarray(at, at + n)];
      b = b.subarray(at + n);
      this.frame(op & 15, (op & 128) !== 0, data);
    }
    this.unread = [b];
    this.unreadBytes = b.length;
  }

  private frame(op: number, final: boolean, data: Buffer): void {
    switch (op) {
      case opText:
      case opContinuation:
        this.parts.push(data);
        if (final) {
          const text = Buffer.concat(this.parts).toString("utf8");
          this.parts = [];
          this.on.message(text);
        }
        return;
      case opPing:
        this.write(opPong, data);
        return;
      case opPong:
        return;
      case opClose:
        if (data.length >= 2) this.closing = { code: data.readUInt16BE(0), reason: data.subarray(2).toString("utf8") };
        this.write(opClose, data.subarray(0, 2));
        this.end(this.closing.code, this.closing.reason);
        return;
      default:
        this.end(1002, `the server sent a frame of the unknown kind ${op}`);
    }
  }
}
