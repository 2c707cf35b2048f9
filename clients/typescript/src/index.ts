export { KalamClient, type ClientOptions, type RequestOptions } from "./client.js";
export { KalamError } from "./errors.js";
export { LiveRows, type LiveRowsOptions } from "./liverows.js";
export type { Subscription, SubscribeOptions, SubscriptionHandlers } from "./subscription.js";
export type { Change, ChangeType, Column, Cursor, Result, Row, Value } from "./protocol.js";
