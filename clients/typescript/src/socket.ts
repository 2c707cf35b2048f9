/** A WebSocket of text messages. After close nothing is heard of it. */
export interface Socket {
  send(text: string): void;
  close(): void;
}

export interface SocketHandlers {
  open(): void;
  message(text: string): void;
  /** The last call; code is that of the close frame, 1006 without one. */
  close(code: number, reason: string): void;
}

/** Who connects. */
export interface Credentials {
  token: string | undefined;
  /** In dev mode, and not from a browser, which cannot send headers. */
  userId: string | undefined;
}

/** Opens the WebSocket of the browser. Its token is a part of the URL. */
export function openSocket(url: string, who: Credentials, on: SocketHandlers): Socket {
  const address = new URL(url);
  if (who.token) address.searchParams.set("token", who.token);
  const ws = new WebSocket(address);
  ws.onopen = () => on.open();
  ws.onmessage = (e) => on.message(String(e.data));
  ws.onclose = (e) => on.close(e.code, e.reason);
  return {
    send: (text) => ws.send(text),
    close: () => {
      ws.onopen = ws.onmessage = ws.onclose = null;
      ws.close();
    },
  };
}
