/** A value as JSON has it: a BIGINT beyond 2^53 − 1, a DECIMAL, a UUID, a TIMESTAMP and a BLOB are strings. */
export type Value = null | boolean | number | string | Value[] | { [key: string]: Value };

/** One row by column name. */
export type Row = Record<string, Value>;

export interface Column {
  name: string;
  /** The server's name of the type, such as BIGINT. */
  type: string;
}

/** The outcome of one statement. */
export interface Result<T = Row> {
  /** The verb, such as SELECT. */
  statement: string;
  columns?: Column[];
  rows: T[];
  row_count?: number;
  /** Of an INSERT, UPDATE or DELETE. */
  affected_rows?: number;
  /** Of the last change, which is durable. */
  seq?: number;
  execution_time_ms: number;
}

export type ChangeType = "INSERT" | "UPDATE" | "DELETE";

/** Neighbouring changes of one commit that are alike. */
export interface Change<T = Row> {
  type: ChangeType;
  rows: T[];
  /** Of an UPDATE: what each of the rows replaced. */
  oldRows?: T[];
  /** left_filter: the rows of a DELETE are still there and do not match any more. expired: an event of a STREAM table is over. */
  reason?: string;
  seq: number;
}

/** Where to go on: changes after seq, in the history that epoch names. */
export interface Cursor {
  seq: number;
  epoch?: string;
}

/** A frame of the server. Fields that a server does not know yet are absent. */
export interface Frame {
  type: string;
  query_id?: string;
  columns?: Column[];
  resumed?: boolean;
  epoch?: string;
  rows?: Row[];
  has_more?: boolean;
  change_type?: ChangeType;
  old_values?: Row[];
  /** false: more changes of the same transaction follow. */
  txn_last?: boolean;
  seq?: number;
  reason?: string;
  code?: string;
  message?: string;
  details?: string;
  position?: number;
}
