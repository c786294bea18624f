// A process that owns a history in a directory, writes numbered rows and prints each number once it is durable. It is
// started by crash.test.ts, which kills it.
//   argv: objects directory, database directory, epoch, first number, how many writers at once

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/lib/clock.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { createLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import { NeverShippedError } from '../../src/replicate/errors.ts'
import { createHistory, type HistoryPosition, openHistory } from '../../src/replicate/history.ts'
import { Shipper } from '../../src/replicate/shipper.ts'

const [objects, dir, epochText, firstText, writersText] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
]
mkdirSync(dir, { recursive: true })
const path = join(dir, 'data.db')
const at = { store: await openObjectStore({ kind: 'file', dir: objects }), prefix: 't/crash/data.db' }
const deps = { epoch: Number(epochText), clock: systemClock, rng: systemRng }

let position: HistoryPosition | null = null
let origin = 'created'
try {
  const opened = await openHistory(at, path, deps)
  position = opened
  origin = opened.origin
} catch (error) {
  if (!(error instanceof NeverShippedError)) throw error
}
const db = Database.open({ path, checkpoint: 'owner' })
if (position === null) {
  await db.transaction(() => db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)'))
  position = await createHistory(at, db, deps)
}
const shipper = Shipper.attach(db, position, {
  clock: systemClock,
  rng: systemRng,
  log: createLogger({ level: 'error', format: 'text', now: Date.now }),
  onFenced: () => process.exit(3),
})
db.quickCheck()
process.stdout.write(`ready ${origin}\n`)
let next = Number(firstText)
const writer = async () => {
  for (;;) {
    const id = next++
    await db.transaction(() =>
      db.run('INSERT INTO t (id, v) VALUES (?, ?)', [id, systemRng.bytes(1 + systemRng.below(30_000))]),
    )
    await shipper.waitDurable(db.commitSeq, 20_000)
    process.stdout.write(`acked ${id}\n`)
  }
}
await Promise.all(Array.from({ length: Number(writersText) }, writer))
