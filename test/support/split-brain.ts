// Two owners of one tenant, again and again: the one that is paused, cut off, or late, and its successor. Judged by what
// clients were told and by the slots in the store.

import type { TenantId } from '../../src/lib/brand.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { type Rng, seededRng, systemRng } from '../../src/lib/rng.ts'
import { FaultProxy } from './fault-proxy.ts'
import { checkLinearHistory } from './linear-history.ts'
import { type NodeProcess, Nodes } from './nodes.ts'
import { S3Double } from './s3-double.ts'
import { until } from './wait.ts'

export type Split =
  /** The owner is stopped and goes on behind its successor's back. */
  | 'paused'
  /** It loses store and control plane, and gets them back. */
  | 'cut off'
  /** It loses the control plane alone: the store tells it. */
  | 'unheard'
  /** A node whose epoch is over opens the tenant after its successor has. */
  | 'late'

const splits: readonly Split[] = ['paused', 'cut off', 'unheard', 'late']
const modes = ['sync', 'quorum', 'async'] as const

export interface SplitBrainReport {
  readonly seed: number
  readonly rounds: number
  readonly splits: Readonly<Record<string, number>>
  readonly acknowledged: number
  /** Acknowledged by an `async` owner after it had lost its place, and gone with it; kept as an orphan. */
  readonly orphaned: number
  readonly refused: number
  readonly slots: number
  readonly writers: number
}

interface Side {
  readonly node: NodeProcess
  readonly proxy: FaultProxy
}

/** What clients of one owner were told, by when they asked (monotonic ms). */
interface Told {
  readonly text: string
  readonly epoch: number
  readonly askedAtMs: number
  readonly toldAtMs: number
}

/** A quarter of a second of clients is some dozen writes. */
const clientsMs = 250
/** Rounds of one tenant: few of some, for every mode to have its turn, and more of others, for longer histories. */
const roundsPerTenantMin = 2
const roundsPerTenantMax = 12
/** An answer that is later than this counts as none. */
const clientTimeoutMs = 1_000
/** For an `async` owner that has lost store and control plane: from then on it takes no writes, ms. */
const cutOffMs = 10_000

/** Runs the rounds; throws with the seed and the round at the first broken promise. */
export async function runSplitBrain(options: {
  readonly seed: number
  readonly rounds: number
  readonly onRound?: (line: string) => void
}): Promise<SplitBrainReport> {
  const rng = seededRng(options.seed)
  await using store = await S3Double.start()
  await using nodes = new Nodes()
  const sides: Side[] = []
  for (const name of ['a', 'b', 'c']) {
    const proxy = await FaultProxy.start(store.endpoint)
    const objectStore = s3Of(store, proxy.endpoint)
    sides.push({ node: await nodes.start(name, { objectStore }), proxy })
  }
  const brain = new Brain(nodes, store, sides, rng)
  const counts: Record<string, number> = {}
  let tenants = 0
  let left = 0
  try {
    for (let round = 0; round < options.rounds; round++) {
      const split = splits[rng.below(splits.length)]!
      counts[split] = (counts[split] ?? 0) + 1
      if (left-- === 0) {
        await brain.nextTenant(modes[tenants++ % modes.length]!)
        left = tenants <= modes.length ? 1 : roundsPerTenantMin + rng.below(roundsPerTenantMax - roundsPerTenantMin)
      }
      try {
        const line = await brain.round(split)
        options.onRound?.(`round ${round + 1}/${options.rounds}: ${split}, ${line}`)
      } catch (error) {
        throw new Error(`SEED=${options.seed}, round ${round + 1}, ${split}: ${error}`, { cause: error })
      }
    }
    await brain.endTenant()
    return { seed: options.seed, rounds: options.rounds, splits: counts, ...brain.figures }
  } finally {
    for (const { node, proxy } of sides) {
      node.resume()
      await proxy[Symbol.asyncDispose]()
    }
  }
}

function s3Of(store: S3Double, endpoint: string) {
  const credentials = { accessKeyId: store.accessKey, secretAccessKey: store.secretKey }
  return { kind: 's3', endpoint, region: store.region, bucket: store.bucket, prefix: '', credentials } as const
}

class Brain {
  readonly figures = { acknowledged: 0, orphaned: 0, refused: 0, slots: 0, writers: 0 }
  readonly #nodes: Nodes
  readonly #store: S3Double
  readonly #sides: readonly Side[]
  readonly #rng: Rng
  #id = '' as TenantId
  #mode: (typeof modes)[number] = 'sync'
  #epoch = 0
  #owner = 0
  /** What must be there, whoever owns the tenant. */
  readonly #kept = new Set<string>()
  #writes = 0

  constructor(nodes: Nodes, store: S3Double, sides: readonly Side[], rng: Rng) {
    this.#nodes = nodes
    this.#store = store
    this.#sides = sides
    this.#rng = rng
  }

  async nextTenant(mode: (typeof modes)[number]): Promise<void> {
    if (this.#id !== '') await this.endTenant()
    this.#mode = mode
    this.#owner = 0
    this.#epoch = 1
    this.#kept.clear()
    this.#id = await this.#nodes.createTenant(this.#sides[0]!.node, { ackMode: mode })
    this.#succeed(0)
  }

  async endTenant(): Promise<void> {
    const store = await openObjectStore(s3Of(this.#store, this.#store.endpoint), { clock: systemClock, rng: systemRng })
    for (const database of ['data.db', 'auxiliary.db', 'hooks.db']) {
      const { slots, writers } = await checkLinearHistory({ store, prefix: `t/${this.#id}/${database}` })
      this.figures.slots += slots
      this.figures.writers += writers
    }
    await store.close()
  }

  async round(split: Split): Promise<string> {
    const startedAtMs = performance.now()
    const old = this.#sides[this.#owner]!
    const oldEpoch = this.#epoch
    const told: Told[] = []
    const before = this.#clients(old, oldEpoch, told)
    await Bun.sleep(clientsMs)
    const lostAtMs = performance.now()
    if (split === 'paused') old.node.pause()
    if (split === 'cut off') old.proxy.isCut = true
    if (split === 'cut off' || split === 'unheard') this.#nodes.control.cut(old.node.id)
    const next = (this.#owner + 1 + this.#rng.below(2)) % this.#sides.length
    this.#succeed(next)
    const heir = this.#sides[next]!
    const serves = () => this.#nodes.texts(this.#id, heir.node, this.#epoch)
    await until('the successor to serve', serves)
    const sealedAtMs = performance.now()
    const after = this.#clients(heir, this.#epoch, told)
    await Bun.sleep(this.#rng.below(clientsMs))
    old.node.resume()
    old.proxy.isCut = false
    if (split === 'late') await this.#openLate(old, oldEpoch)
    await Bun.sleep(clientsMs)
    await Promise.all([before(), after()])
    this.#nodes.control.mend(old.node.id)
    await this.#judge(heir, told, { oldEpoch, lostAtMs, sealedAtMs })
    const ms = Math.round(performance.now() - startedAtMs)
    return `${ms} ms, ${this.#mode}, epoch ${this.#epoch}, ${told.length} acknowledged`
  }

  /** Clients of one owner until told to stop; they go on however it answers. */
  #clients({ node }: Side, epoch: number, told: Told[]): () => Promise<void> {
    let isOver = false
    const loop = async () => {
      while (!isOver) {
        const text = `e${epoch} ${++this.#writes} ${'x'.repeat(this.#rng.below(2_000))}`
        const askedAtMs = performance.now()
        try {
          const status = await this.#nodes.write(this.#id, node, epoch, text, { timeoutMs: clientTimeoutMs })
          if (status === 200) told.push({ text, epoch, askedAtMs, toldAtMs: performance.now() })
          else this.figures.refused++
        } catch {
          // No answer: whether it is there is unknown, and nobody was told.
        }
        await Bun.sleep(2)
      }
    }
    const loops = [loop(), loop()]
    return async () => {
      isOver = true
      await Promise.all(loops)
    }
  }

  #succeed(next: number): void {
    this.#owner = next
    this.#epoch++
    const standby = this.#sides[(next + 1) % this.#sides.length]!.node.id
    const standbys = this.#mode === 'quorum' ? [standby] : undefined
    this.#nodes.place(this.#id, this.#sides[next]!.node, this.#epoch, { ackMode: this.#mode }, standbys)
  }

  /** The old node is asked anew under its old epoch, by a control plane that is behind: it must not fence its successor. */
  async #openLate({ node }: Side, epoch: number): Promise<void> {
    const now = this.#nodes.control.placements.get(this.#id)!
    const { standbySets, ...placement } = now.placement
    const sets = standbySets?.filter((set) => set.epoch <= epoch)
    this.#nodes.control.placements.set(this.#id, {
      ...now,
      placement: {
        ...placement,
        nodeId: node.id,
        epoch: epoch as typeof placement.epoch,
        ...(sets && { standbySets: sets }),
      },
    })
    const status = await this.#nodes.write(this.#id, node, epoch, 'late', { timeoutMs: 12_000 }).catch(() => 0)
    this.#nodes.control.placements.set(this.#id, now)
    // Where it had the tenant open all along, `async` takes what becomes an orphan a moment later.
    if (status === 200 && this.#mode !== 'async') throw new Error('a node of an older epoch took a write')
  }

  async #judge(
    heir: Side,
    told: readonly Told[],
    at: { readonly oldEpoch: number; readonly lostAtMs: number; readonly sealedAtMs: number },
  ): Promise<void> {
    // With it everything before is in the store, so the next round may not lose it, whatever the mode.
    const barrier = `barrier ${++this.#writes}`
    await until('a write that is safe', async () => {
      const status = await this.#nodes.write(this.#id, heir.node, this.#epoch, barrier, { ack: 'sync' })
      return status === 200
    })
    const texts = await until('the owner to serve', () => this.#nodes.texts(this.#id, heir.node, this.#epoch))
    for (const text of this.#kept)
      if (!texts.has(text)) throw new Error(`an acknowledged write is gone: ${text.slice(0, 40)}`)
    for (const { text, epoch, askedAtMs, toldAtMs } of told) {
      this.figures.acknowledged++
      if (texts.has(text)) this.#kept.add(text)
      const isOld = epoch === at.oldEpoch
      if (this.#mode !== 'async') {
        if (!texts.has(text)) throw new Error(`acknowledged and gone: ${text.slice(0, 40)}`)
        // Whoever asks the old owner after its successor has begun must not be answered: the old one may no longer write.
        if (isOld && askedAtMs > at.sealedAtMs) throw new Error(`the old owner acknowledged ${text.slice(0, 40)}`)
      } else if (!texts.has(text)) {
        if (!isOld) throw new Error(`the rightful owner lost ${text.slice(0, 40)}`)
        if (toldAtMs > at.lostAtMs + cutOffMs) throw new Error(`taken too late: ${text.slice(0, 40)}`)
        this.figures.orphaned++
      }
    }
    if (texts.has('late')) throw new Error('a write of a late owner is there')
  }
}
