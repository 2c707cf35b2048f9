// Readers of the JavaScript world over every type: @duckdb/node-api and hyparquet. In the
// current folder are the data directory of a stopped server and what it answered itself.
import { DuckDBInstance } from '@duckdb/node-api'
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { readFileSync, readdirSync } from 'node:fs'

let failures = 0
const folder = t => (t === 'plans' ? 'data/storage/shared/app/' : 'data/storage/users/ana/app/') + t
const answers = t => JSON.parse(readFileSync(`${t}.json`, 'utf8'))
const columns = t => JSON.parse(readFileSync(`${t}.columns.json`, 'utf8')).map(c => [c.column_name, c.column_type])

const two = (n, width = 2) => String(n).padStart(width, '0')
function clock (micros) {
  const s = micros / 1000000n
  return `${two(s / 3600n)}:${two(s / 60n % 60n)}:${two(s % 60n)}.${two(micros % 1000000n, 6)}`
}

const mod = (a, b) => ((a % b) + b) % b

// canon is a value as the server's JSON has it, whatever a reader makes of it.
function canon (type, v) {
  if (v === null || v === undefined) return null
  if (type.endsWith(']')) {
    const inner = type.slice(0, type.lastIndexOf('['))
    return [...(v.items ?? v)].map(x => canon(inner, x))
  }
  switch (type.replace(/\(.*/, '')) {
    case 'SMALLINT': case 'INTEGER': case 'BIGINT': return String(v)
    case 'FLOAT': case 'DOUBLE': return String(Number(v))
    case 'DECIMAL': return Number(Number(String(v)).toPrecision(14)) // hyparquet computes them as doubles
    case 'JSON': return typeof v === 'string' ? JSON.parse(v) : v
    case 'BLOB': return typeof v === 'string' ? v : Buffer.from(v.bytes ?? v).toString('base64')
    case 'UUID':
      if (v instanceof Uint8Array) v = Buffer.from(v).toString('hex').replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5')
      return String(v)
    case 'DATE': return v instanceof Date ? v.toISOString().slice(0, 10) : String(v)
    case 'TIME':
      if (typeof v === 'bigint') return clock(v)
      return v.micros === undefined ? String(v) : clock(v.micros)
    case 'TIMESTAMP': return typeof v === 'string' ? v : `${new Date(Number((v.micros - mod(v.micros, 1000000n)) / 1000n)).toISOString().slice(0, 19)}.${two(mod(v.micros, 1000000n), 6)}Z`
  }
  return v
}

const parsers = { timestampFromMicroseconds: micros => ({ micros }) } // a Date has milliseconds only

function compare (what, table, rows) {
  const shape = r => JSON.stringify(columns(table).map(([name, type]) => canon(type, r[name])))
  const got = rows.map(shape).sort()
  const want = answers(table).map(shape).sort()
  if (JSON.stringify(got) === JSON.stringify(want)) {
    console.log(`ok   ${what}: ${got.length} rows`)
    return
  }
  failures++
  console.log(`FAIL ${what}\n  the server: ${want.join('\n              ')}\n  the reader: ${got.join('\n              ')}`)
}

const duck = await (await DuckDBInstance.create(':memory:')).connect()
for (const table of ['types', 'plans']) {
  const answer = await duck.runAndReadAll(`FROM '${folder(table)}/*.parquet'`)
  compare(`@duckdb/node-api, ${table}`, table, answer.getRowObjects())
  const rows = []
  for (const name of readdirSync(folder(table))) {
    const file = await asyncBufferFromFile(`${folder(table)}/${name}`)
    rows.push(...await parquetReadObjects({ file, compressors, parsers, utf8: false }))
  }
  compare(`hyparquet, ${table}`, table, rows)
}
process.exit(failures ? 1 : 0)
