// A Raft member of its own process, for crash tests: proposes without pause and prints each id once it is acknowledged.
// `verify` prints what it finds instead and ends.

import { join } from 'node:path'
import type { MemberId } from '../../src/cp/raft/core/types.ts'
import { openRaftDriver } from '../../src/cp/raft/driver.ts'
import { RocksLogStore } from '../../src/cp/raft/storage/rocks-log-store.ts'
import { noTransport } from '../../src/cp/raft/transport/transport.ts'
import { openRocksDb } from '../../src/cp/rocks/db.ts'
import type { Outcome } from '../../src/cp/state/apply.ts'
import { commands } from '../../src/cp/state/command.ts'
import { StateStore } from '../../src/cp/state/store.ts'
import type { NodeId } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/obs/log.ts'
import { systemRng } from '../../src/lib/rng.ts'
import { registerNode } from '../support/cluster-rows.ts'

const [dir, verb] = process.argv.slice(2) as [string, string]
const db = await openRocksDb(join(dir, 'rocksdb'))
const machine = new StateStore(db)
await machine.load()
const id = 'm1' as MemberId
const driver = await openRaftDriver<Outcome | null>({
  id,
  voters: [id],
  store: new RocksLogStore(db),
  machine,
  transport: noTransport,
  clock: systemClock,
  rng: systemRng,
  log: silentLogger,
})
await driver.ready(10_000)
if (verb === 'verify') {
  for (const node of machine.state.nodes.all()) console.log(node.id)
  await driver.close()
  await db.close()
  process.exit(0)
}

/** Several clients at once, so that batches form. */
async function client(of: number): Promise<void> {
  for (let at = 0; ; at++) {
    const id = `${verb}-${of}-${at}` as NodeId
    const outcome = await driver.propose(commands.encode(registerNode(id)))
    if (outcome?.ok) process.stdout.write(`${id}\n`)
  }
}
await Promise.all([0, 1, 2, 3].map(client))
