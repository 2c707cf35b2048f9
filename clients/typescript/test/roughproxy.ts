import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A generator of numbers in [0, 1) that a seed repeats (mulberry32). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Passes TCP connections on, and while it is harsh it cuts them, stalls them without a word and delays them, at any byte. */
export class RoughProxy {
  readonly faults = { cut: 0, stalled: 0, delayed: 0 };
  target = 0; // a port of this machine
  private harsh = false;
  private readonly held = new Set<() => void>(); // what goes on when it is calm
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((inward) => {
    const outward = connect(this.target, "127.0.0.1");
    for (const [from, to] of [[inward, outward], [outward, inward]] as const) {
      this.sockets.add(from);
      from.on("error", () => from.destroy());
      from.on("close", () => {
        this.sockets.delete(from);
        to.destroy();
      });
      from.on("data", (chunk: Buffer) => this.pass(chunk, from, to));
    }
  });

  constructor(private readonly rng: () => number) {}

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  private pass(chunk: Buffer, from: Socket, to: Socket): void {
    const roll = this.harsh ? this.rng() : 1;
    if (roll < 0.1) {
      this.faults.cut++;
      to.write(chunk.subarray(0, Math.floor(this.rng() * chunk.length)), () => from.destroy());
      return;
    }
    if (roll >= 0.35) {
      to.write(chunk);
      return;
    }
    from.pause();
    const goOn = () => {
      this.held.delete(goOn);
      clearTimeout(late);
      if (!to.destroyed) to.write(chunk);
      from.resume();
    };
    this.held.add(goOn);
    let late: ReturnType<typeof setTimeout> | undefined;
    if (roll < 0.13) this.faults.stalled++;
    else {
      this.faults.delayed++;
      late = setTimeout(goOn, this.rng() * 20);
    }
  }

  enrage(): void {
    this.harsh = true;
  }

  soothe(): void {
    this.harsh = false;
    for (const goOn of [...this.held]) goOn();
  }

  cutAll(): void {
    for (const s of this.sockets) s.destroy();
  }

  close(): void {
    this.soothe();
    this.cutAll();
    this.server.close();
  }
}
