// A process that asks its reader an endless question and prints when it has; a test kills it.
//   argv: a database of SQLite

import { systemClock } from '../../src/lib/clock.ts'
import { ReaderPool } from '../../src/node/engine/db/reader-process.ts'

const sql = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'
const pool = new ReaderPool({ clock: systemClock })
const asked = pool.run(
  { path: process.argv[2]!, sql, params: [], rowsMax: null, bytesMax: 1_000, isApart: false },
  600_000,
)
console.log('asked')
await asked
