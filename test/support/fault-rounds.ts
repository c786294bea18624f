// Owners whose store misbehaves and who are killed in the middle of it, again and again; then the store alone is asked
// for what they had acknowledged. The journal is what they printed, kept here.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock as clock } from '../../src/lib/clock.ts'
import type { ObjectStore } from '../../src/lib/object-store/object-store.ts'
import { type ObjectStoreConfig, openObjectStore } from '../../src/lib/object-store/open.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { type Rng, seededRng, systemRng } from '../../src/lib/rng.ts'
import { Database } from '../../src/node/engine/db/database.ts'
import type { AckPolicy } from '../../src/node/tenants/output-gate.ts'
import { openHistory } from '../../src/replicate/history.ts'
import type { HistoryLocation } from '../../src/replicate/ltx-store.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'
import { Shipper } from '../../src/replicate/shipper.ts'
import { StandbyCouncil } from '../../src/replicate/standby-council.ts'
import type { FaultOwnerConfig } from '../replication/fault-owner-process.ts'
import { FaultProxy, type ProxiedRequest, type ProxyFault } from './fault-proxy.ts'
import { checkLinearHistory } from './linear-history.ts'
import { localStandby } from './local-standby.ts'
import type { Minio } from './minio.ts'

export interface FaultReport {
  readonly seed: number
  readonly rounds: number
  readonly byMode: Readonly<Record<string, number>>
  readonly outages: number
  readonly acknowledged: number
  readonly refused: number
  /** Faults done to requests, by their type. */
  readonly faults: Readonly<Record<string, number>>
  /** Acknowledged by `async` owners whose disk was lost: how many, and the longest span of them, ms of their clock. */
  readonly asyncLost: number
  readonly asyncLostSpanMsMax: number
  readonly histories: number
  readonly slots: number
  readonly writers: number
}

interface Mode {
  readonly name: string
  readonly policy: AckPolicy
  /** The files of the killed owner are gone too. */
  readonly losesDisk: boolean
}

const lossBoundMs = 5_000
const modes: readonly Mode[] = [
  { name: 'sync', losesDisk: true, policy: { ackMode: 'sync', lossBoundMs, onStoreOutage: 'spool' } },
  { name: 'quorum', losesDisk: true, policy: { ackMode: 'quorum', lossBoundMs, onStoreOutage: 'spool' } },
  { name: 'async', losesDisk: true, policy: { ackMode: 'async', lossBoundMs, onStoreOutage: 'refuse' } },
  { name: 'async, spooling', losesDisk: false, policy: { ackMode: 'async', lossBoundMs, onStoreOutage: 'spool' } },
]
/** Lives of one history: then it is checked as a whole, and another one begins. Short ones first, so that a sample has
 * every mode. */
const livesMin = 4
const livesMax = 16
/** An owner lives until so many of its writes are acknowledged, or for so long, ms. */
const actsMax = 12
const livesMs = 1_000
/** The owner's clock against ours: its pauses and deadlines become short. */
const speed = 10
/** What a busy machine may add between an answer and its line in our journal, ms of the owner's clock. */
const slackMs = 1_000
const outageMs = 2 * 60 * 60_000
/** A store that is well lets an owner open within this. */
const openMsMax = 60_000

/** Runs the rounds against a real server; throws with the seed and the round at the first broken promise. */
export async function runFaultRounds(options: {
  readonly minio: Minio
  readonly seed: number
  readonly rounds: number
  /** Histories at once. */
  readonly lanes?: number
  readonly onRound?: (line: string) => void
}): Promise<FaultReport> {
  const { minio, seed, rounds, lanes = 1, onRound } = options
  const totals = {
    byMode: {} as Record<string, number>,
    outages: 0,
    acknowledged: 0,
    refused: 0,
    faults: {} as Record<string, number>,
    asyncLost: 0,
    asyncLostSpanMsMax: 0,
    histories: 0,
    slots: 0,
    writers: 0,
  }
  let started = 0
  const lane = async (index: number) => {
    await using proxy = await FaultProxy.start(minio.endpoint)
    const runner = new Lane(minio, proxy, totals)
    try {
      while (started < rounds) {
        const round = started++
        try {
          const line = await runner.round(seededRng(seed * 100_003 + round))
          onRound?.(`round ${round + 1}/${rounds}: ${line}`)
        } catch (error) {
          throw new Error(`SEED=${seed}, round ${round + 1}, lane ${index}: ${error}`, { cause: error })
        }
      }
      await runner.endHistory()
    } finally {
      await runner.close()
      for (const [type, count] of proxy.counts) totals.faults[type] = (totals.faults[type] ?? 0) + count
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)))
  return { seed, rounds, ...totals }
}

interface Totals {
  readonly byMode: Record<string, number>
  outages: number
  acknowledged: number
  refused: number
  asyncLost: number
  asyncLostSpanMsMax: number
  histories: number
  slots: number
  writers: number
}

/** What an owner has printed. */
interface Journal {
  readonly acked: Map<number, number>
  refused: number
}

class Lane {
  readonly #minio: Minio
  readonly #proxy: FaultProxy
  readonly #totals: Totals
  readonly #dir = mkdtempSync(join(tmpdir(), 'pf-faults-'))
  #direct: ObjectStore | null = null
  #ready = startOwner()
  #history: { readonly prefix: string; readonly mode: Mode } | null = null
  #roundsLeft = 0
  #histories = 0
  #epoch = 0
  #nextRow = 0
  /** Rows that must be there. */
  readonly #acked = new Set<number>()

  constructor(minio: Minio, proxy: FaultProxy, totals: Totals) {
    this.#minio = minio
    this.#proxy = proxy
    this.#totals = totals
  }

  async round(rng: Rng): Promise<string> {
    if (this.#roundsLeft-- === 0) {
      await this.endHistory()
      const history = this.#totals.histories++
      const mode = modes[history % modes.length]!
      this.#history = { prefix: `faults/${rng.bytes(8).toHex()}/data.db`, mode }
      this.#roundsLeft = (history < 2 * modes.length ? livesMin : livesMin + rng.below(livesMax - livesMin)) - 1
      this.#histories++
      this.#epoch = 1
      this.#nextRow = 1
      this.#acked.clear()
    }
    const { prefix, mode } = this.#history!
    this.#totals.byMode[mode.name] = (this.#totals.byMode[mode.name] ?? 0) + 1
    const owner = this.#ready
    this.#ready = startOwner()
    const journal = await this.#live(owner, { prefix, mode, rng })
    this.#totals.acknowledged += journal.acked.size
    this.#totals.refused += journal.refused
    await this.#judge(journal, mode, prefix)
    return `${mode.name}, ${journal.acked.size} acknowledged, ${journal.refused} refused`
  }

  /** One life of an owner, to its violent end. */
  async #live(
    owner: Owner,
    round: { readonly prefix: string; readonly mode: Mode; readonly rng: Rng },
  ): Promise<Journal> {
    const { prefix, mode, rng } = round
    const config: FaultOwnerConfig = {
      store: this.#store(this.#proxy.endpoint),
      prefix,
      dir: this.#ownerDir,
      isNew: this.#epoch === 1,
      epoch: this.#epoch++,
      policy: mode.policy,
      standby: mode.policy.ackMode === 'quorum' ? { dir: this.#standbyDir, epochs: [1] } : null,
      firstRow: this.#nextRow,
      seed: rng.below(2 ** 31),
      speed,
    }
    this.#proxy.fault = faultsOf(rng)
    owner.send(JSON.stringify(config))
    try {
      // Some faults keep an owner from opening for long; then they end, and it must open.
      if (!(await owner.heard('open', 500))) {
        this.#proxy.fault = null
        if (!(await owner.heard('open', openMsMax))) throw new Error('the owner does not open')
        this.#proxy.fault = faultsOf(rng)
      }
      await owner.acknowledged(1 + rng.below(actsMax), livesMs)
      if (rng.below(10) === 0) await this.#outage(owner, rng)
    } finally {
      await owner.kill()
      this.#proxy.fault = null
    }
    return owner.journal
  }

  /** The store is out for two hours of the owner's clock, and the owner dies before or after its end. */
  async #outage(owner: Owner, rng: Rng): Promise<void> {
    this.#totals.outages++
    const isRefusing = rng.below(2) === 0
    this.#proxy.fault = () => (isRefusing ? { type: 'status', status: 503, code: 'SlowDown' } : { type: 'broken' })
    owner.send(`jump ${outageMs}`)
    if (!(await owner.heard('jumped', openMsMax))) throw new Error('the owner did not live through the outage')
    if (rng.below(2) === 0) return
    this.#proxy.fault = faultsOf(rng)
    await Bun.sleep(100 + rng.below(200))
  }

  async #judge(journal: Journal, mode: Mode, prefix: string): Promise<void> {
    for (const id of journal.acked.keys()) {
      this.#acked.add(id)
      this.#nextRow = Math.max(this.#nextRow, id + 1)
    }
    this.#nextRow += 1_000 // rows whose answer was lost may be there
    const at = { store: await this.#directStore(), prefix }
    if (mode.policy.ackMode === 'quorum') await this.#succeed(at, null)
    else if (!mode.losesDisk) await this.#succeed(at, this.#ownerDir)
    const rows = await this.#restoredRows(at)
    const lost = [...this.#acked].filter((id) => !rows.has(id))
    if (mode.losesDisk) rmSync(this.#ownerDir, { recursive: true, force: true })
    if (lost.length === 0) return
    if (mode.name !== 'async')
      throw new Error(`${mode.name}: ${lost.length} acknowledged rows are gone, one is ${lost[0]}`)
    const oldest = lost.filter((id) => !journal.acked.has(id))
    if (oldest.length > 0) throw new Error(`async: rows of an earlier round are gone, one is ${oldest[0]}`)
    const lastAtMs = Math.max(...journal.acked.values())
    const spanMs = lastAtMs - Math.min(...lost.map((id) => journal.acked.get(id)!))
    if (spanMs > lossBoundMs + slackMs)
      throw new Error(`async: ${lost.length} rows over ${Math.round(spanMs)} ms are gone`)
    this.#totals.asyncLost += lost.length
    this.#totals.asyncLostSpanMsMax = Math.max(this.#totals.asyncLostSpanMsMax, Math.round(spanMs))
    for (const id of lost) this.#acked.delete(id)
  }

  /** A successor with the standby, or on the same disk, ships what the dead owner could not. */
  async #succeed(at: HistoryLocation, dir: string | null): Promise<void> {
    const folder = dir ?? mkdtempSync(join(this.#dir, 'heir-'))
    const path = join(folder, 'data.db')
    const council = new StandbyCouncil({
      sets: dir === null ? [{ epoch: 1, nodes: [localStandby(this.#standbyDir)] }] : [],
      own: [],
      log,
    })
    const position = await openHistory(at, path, {
      epoch: this.#epoch++,
      clock,
      rng: systemRng,
      recover: (...args) => council.recover(...args),
    })
    const db = Database.open({ path, checkpoint: 'owner' })
    const shipper = Shipper.attach(db, position, { clock, rng: systemRng, log, onFenced: () => {} })
    const isShipped = await shipper.close({ deadlineMs: openMsMax })
    await db.close()
    await council.releaseOthers(position.writer)
    if (!isShipped) throw new Error('the successor could not ship to a store that is well')
    if (dir === null) rmSync(folder, { recursive: true, force: true })
  }

  /** By the store alone; throws when what it gives is no sound database. */
  async #restoredRows(at: HistoryLocation): Promise<Set<number>> {
    const folder = mkdtempSync(join(this.#dir, 'restored-'))
    try {
      const path = join(folder, 'data.db')
      await restoreDatabase(at, path, { target: null })
      const db = Database.open({ path, checkpoint: 'sqlite' })
      db.quickCheck()
      const rows = db.all<{ id: number }>('SELECT id FROM t')
      await db.close()
      return new Set(rows.map(({ id }) => id))
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  async endHistory(): Promise<void> {
    if (this.#history === null) return
    const { slots, writers } = await checkLinearHistory({
      store: await this.#directStore(),
      prefix: this.#history.prefix,
    })
    this.#totals.slots += slots
    this.#totals.writers += writers
    rmSync(this.#ownerDir, { recursive: true, force: true })
    rmSync(this.#standbyDir, { recursive: true, force: true })
    this.#history = null
  }

  async close(): Promise<void> {
    await this.#ready.kill()
    await this.#direct?.close()
    rmSync(this.#dir, { recursive: true, force: true })
  }

  get #ownerDir(): string {
    return join(this.#dir, `owner-${this.#histories}`)
  }

  get #standbyDir(): string {
    return join(this.#dir, `standby-${this.#histories}`)
  }

  async #directStore(): Promise<ObjectStore> {
    this.#direct ??= await openObjectStore(this.#store(this.#minio.endpoint), { clock, rng: systemRng })
    return this.#direct
  }

  #store(endpoint: string): ObjectStoreConfig {
    const { bucket, accessKey: accessKeyId, secretKey: secretAccessKey } = this.#minio
    return {
      kind: 's3',
      endpoint,
      region: 'us-east-1',
      bucket,
      prefix: '',
      credentials: { accessKeyId, secretAccessKey },
    }
  }
}

interface Owner {
  readonly journal: Journal
  send(line: string): void
  /** Until it has acknowledged so many writes, or the time is over. */
  acknowledged(count: number, timeoutMs: number): Promise<void>
  /** Whether it has said a word by then. */
  heard(word: string, timeoutMs: number): Promise<boolean>
  kill(): Promise<void>
}

function startOwner(): Owner {
  const program = join(import.meta.dir, '../replication/fault-owner-process.ts')
  const child = Bun.spawn([process.execPath, program], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' })
  const journal: Journal = { acked: new Map(), refused: 0 }
  const words = new Set<string>()
  let wake: () => void = () => {}
  const reading = (async () => {
    const decoder = new TextDecoder()
    let rest = ''
    for await (const piece of child.stdout) {
      rest += decoder.decode(piece, { stream: true })
      const lines = rest.split('\n')
      rest = lines.pop()!
      for (const line of lines) {
        const [word, id, atMs] = line.split(' ')
        if (word === 'ack') journal.acked.set(Number(id), Number(atMs))
        else if (word === 'refused') journal.refused++
        else words.add(word!)
      }
      wake()
    }
  })()
  const until = async (isDone: () => boolean, timeoutMs: number) => {
    const endsAtMs = performance.now() + timeoutMs
    while (!isDone() && performance.now() < endsAtMs && child.exitCode === null)
      await Promise.race([new Promise<void>((resolve) => (wake = resolve)), Bun.sleep(endsAtMs - performance.now())])
  }
  return {
    journal,
    send(line) {
      child.stdin.write(`${line}\n`)
      child.stdin.flush()
    },
    acknowledged: (count, timeoutMs) => until(() => journal.acked.size >= count, timeoutMs),
    async heard(word, timeoutMs) {
      await until(() => words.has(word), timeoutMs)
      return words.has(word)
    },
    async kill() {
      child.kill('SIGKILL')
      await child.exited
      await reading
    },
  }
}

/** Swarm testing: each life has some of the faults, at a rate of its own. */
function faultsOf(rng: Rng): (request: ProxiedRequest) => ProxyFault | null {
  const share = 5 + rng.below(40)
  const chosen = kinds.filter(() => rng.below(2) === 0)
  if (chosen.length === 0) return () => null
  return (request) => {
    if (rng.below(100) >= share) return null
    return chosen[rng.below(chosen.length)]!(request, rng)
  }
}

type Kind = (request: ProxiedRequest, rng: Rng) => ProxyFault | null
const kinds: readonly Kind[] = [
  (_, rng) => ({ type: 'delay', delayMs: rng.below(60) }),
  () => ({ type: 'status', status: 500, code: 'InternalError' }),
  () => ({ type: 'status', status: 503, code: 'SlowDown' }),
  // Some stores answer so under a race of conditional writes: it says nothing about who won.
  ({ method }) => (method === 'PUT' ? { type: 'status', status: 409, code: 'ConditionalRequestConflict' } : null),
  // A false "exists already": only the look into the slot tells.
  ({ method }) => (method === 'PUT' ? { type: 'status', status: 412, code: 'PreconditionFailed' } : null),
  () => ({ type: 'lost-reply' }),
  () => ({ type: 'cut-request' }),
  () => ({ type: 'cut-response' }),
  () => ({ type: 'broken' }),
  ({ isList }) => (isList ? { type: 'stale-list' } : null),
]
