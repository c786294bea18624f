// An owner of one history whose store misbehaves: writes numbered rows and prints each number once its mode allows it.
// Started, orchestrated and killed by fault-rounds.ts. Standard input: the configuration as one JSON line, then `jump MS`
// for hours that pass. Prints `ready` at once, then `open`, `ack N`, `refused`, `jumped`.

import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { readLifeLine } from '../../src/lib/life-line.ts'
import { type ObjectStoreConfig, openObjectStore } from '../../src/lib/object-store/open.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { seededRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import { progressOf } from '../../src/node/tenants/open-tenant.ts'
import { type AckPolicy, ReplicatedGate } from '../../src/node/tenants/output-gate.ts'
import { NeverShippedError } from '../../src/replicate/errors.ts'
import { createHistory, type HistoryPosition, openHistory } from '../../src/replicate/history.ts'
import { Shipper } from '../../src/replicate/shipper.ts'
import { StandbyCouncil } from '../../src/replicate/standby-council.ts'
import { StandbyStream } from '../../src/replicate/standby-stream.ts'
import { localStandby } from '../support/local-standby.ts'
import { WarpClock } from '../support/warp-clock.ts'

export interface FaultOwnerConfig {
  readonly store: ObjectStoreConfig
  readonly prefix: string
  readonly dir: string
  readonly epoch: number
  /** Nobody has opened it before: without a history, it begins one. */
  readonly isNew: boolean
  readonly policy: AckPolicy
  /** Folder of the standby, and the epochs under which it stood by; null: none. */
  readonly standby: { readonly dir: string; readonly epochs: readonly number[] } | null
  readonly firstRow: number
  readonly seed: number
  /** How much faster than the world its clock runs. */
  readonly speed: number
}

/** Writers at once, for group commits. */
const writers = 3
/** In a jump: between two steps the writers and the shipper get their turn, ms of the world. */
const stepPauseMs = 2
const stepMs = 60_000

const say = (line: string) => process.stdout.write(`${line}\n`)
say('ready')
let clock: WarpClock | null = null
const life = await readLifeLine(undefined, (line) => {
  const [word, value] = line.split(' ')
  if (word === 'jump') void jump(Number(value))
})
void life.ended.then(() => process.kill(process.pid, 'SIGKILL'))
const config = life.config as FaultOwnerConfig
clock = new WarpClock(config.speed)
const rng = seededRng(config.seed)
mkdirSync(config.dir, { recursive: true })
const path = join(config.dir, 'data.db')
const at = { store: await openObjectStore(config.store, { clock, rng }), prefix: config.prefix }

const standby = config.standby && localStandby(config.standby.dir)
const sets = config.standby?.epochs.map((epoch) => ({ epoch, nodes: [standby!] })) ?? []
const council = new StandbyCouncil({ sets, own: standby ? [standby] : [], log })
const { history, db } = await opened()
db.quickCheck()
const shipper = Shipper.attach(db, history, { clock, rng, log, onFenced: () => process.exit(3) })
const stream = standby && streamTo()
const ownership = { mayWrite: () => true, touch() {} }
const gate = new ReplicatedGate(progressOf(db, shipper, stream), ownership, config.policy, clock)
say('open')
let next = config.firstRow
await Promise.all(Array.from({ length: writers }, write))

/** Opening is tried until the store lets it: a fault is no reason to give up. */
async function opened(): Promise<{ readonly history: HistoryPosition; readonly db: Database }> {
  const recover = (...args: Parameters<StandbyCouncil['recover']>) => council.recover(...args)
  const options = { epoch: config.epoch, clock: clock!, rng }
  for (;;) {
    try {
      const history = await openHistory(at, path, { ...options, ...(standby && { recover }) })
      return { history, db: Database.open({ path, checkpoint: 'owner' }) }
    } catch (error) {
      // A listing of a while ago may say so of a history that exists: then the next one is asked.
      const made = config.isNew && error instanceof NeverShippedError ? await begun(options) : null
      if (made !== null) return made
      await Bun.sleep(5)
    }
  }
}

/** A new history; null when the store failed, and then slot 1 may be there all the same. */
async function begun(options: Parameters<typeof createHistory>[2]) {
  for (const suffix of ['', '-wal', '-shm', '-replica']) rmSync(path + suffix, { force: true })
  const made = Database.open({ path, checkpoint: 'owner' })
  try {
    await made.transaction(() => made.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)'))
    return { history: await createHistory(at, made, options), db: made }
  } catch {
    await made.close()
    return null
  }
}

function streamTo(): StandbyStream {
  const peers = council.peers(history.writer)
  // A history that was just made has asked nobody.
  const promised = peers.length > 0 ? peers : null
  return new StandbyStream(db, shipper, {
    clock: clock!,
    log,
    peers: promised ?? [],
    acksMin: 1,
    firstSeq: council.firstSeq,
    onLost: () => {},
  })
}

async function write(): Promise<void> {
  for (;;) {
    const id = next++
    const value = rng.bytes(1 + rng.below(6_000))
    await db.transaction(() => db.run('INSERT INTO t (id, v) VALUES (?, ?)', [id, value]))
    try {
      await gate.pass()
      say(`ack ${id} ${clock!.monotonic()}`)
    } catch {
      say('refused')
      await Bun.sleep(5)
    }
    await Bun.sleep(1)
  }
}

async function jump(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= stepMs) {
    clock?.jump(Math.min(left, stepMs))
    await Bun.sleep(stepPauseMs)
  }
  say('jumped')
}
