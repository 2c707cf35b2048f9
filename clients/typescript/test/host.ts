import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { KalamClient } from "kalamdb";

const binary = resolve(process.env["KALAMDB_BIN"] ?? "../../bin/kalamdb");

/** Nothing of the tester's settings reaches a process. */
const env = { PATH: process.env["PATH"], HOME: tmpdir() };

/** A kalamdb process on a data directory, which can be killed and started again. */
export class Host {
  url = "";
  private readonly dir = mkdtempSync(join(tmpdir(), "kalamdb-client-"));
  private process: ChildProcess | undefined;
  private readonly tokens = new Map<string, string>();

  async start(): Promise<void> {
    this.process = spawn(binary, ["serve", "--listen", "127.0.0.1:0", "--data-dir", this.dir, "--log-level", "warn"], { stdio: ["ignore", "pipe", "inherit"], env });
    for await (const line of createInterface({ input: this.process.stdout! })) {
      this.url = /http:\/\/[\d.:]+/.exec(line)![0];
      return;
    }
    throw new Error(`${binary} ended before it was ready`);
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const p = this.process;
    this.process = undefined;
    if (!p) return;
    const gone = once(p, "exit");
    p.kill("SIGKILL");
    await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true });
  }

  token(user: string, role: string): string {
    const who = `${user} ${role}`;
    let token = this.tokens.get(who);
    if (!token) {
      token = execFileSync(binary, ["token", "--user", user, "--role", role, "--data-dir", this.dir], { encoding: "utf8", env }).trim();
      this.tokens.set(who, token);
    }
    return token;
  }

  /** A client of the server itself. */
  client(user: string, role = "user"): KalamClient {
    return new KalamClient({ url: this.url, token: this.token(user, role) });
  }
}
