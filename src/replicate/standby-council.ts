// The standbys of one database as an opening owner meets them: it asks those that its predecessor acknowledged by for
// what the object store does not have, and its own for the promise to obey it alone. Both happen before the seal, so no
// older owner finds enough standbys once the new one has begun.
//
// A unit was acknowledged by `acksMinOf(n)` of n standbys; asking all but one fewer than that meets each such set.

import type { Txid } from '../lib/brand.ts'
import { concat } from '../lib/bytes.ts'
import { AppError, errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { StaleEpochError } from './errors.ts'
import type { LtxWriter } from './ltx/header.ts'
import { getSlot, type HistoryLocation, isSeal } from './ltx-store.ts'
import type { Tail } from './seal.ts'
import { type ChainContent, contentOf, decodeChain, goesBehind, StandbyChainError } from './standby-chain.ts'
import type { AppendOutcome, HeldChain, PromiseOutcome, StandbyUnit } from './standby-log.ts'
import type { StandbyPeer } from './standby-stream.ts'

/** Read at once from a standby, bytes. */
const readBytes = 512 << 10
/** The first number of a unit: an LTX file from 1 would be a whole image. */
const firstSeqMin = 2

/** Seals behind one another that are looked through: each is an opening in which nothing was written. */
const sealsInRowMax = 1_000

/** One standby and one database. What cannot be reached rejects, within a time of its own. */
export interface StandbyNode {
  readonly name: string
  promise(writer: LtxWriter): Promise<PromiseOutcome>
  append(writer: LtxWriter, unit: StandbyUnit, deadlineMs: number): Promise<AppendOutcome>
  read(reader: LtxWriter, range: { readonly from: number; readonly to: number }): Promise<Uint8Array | null>
  release(writer: LtxWriter): Promise<void>
}

/** Standbys that may hold acknowledged commits do not answer. Only a person can decide to go on without them. */
export class StandbysUnreachableError extends AppError {
  readonly code = 'standbys_unreachable'
}

/** Standbys that must have a unit before it is acknowledged. */
export function acksMinOf(standbys: number): number {
  return Math.floor(standbys / 2) + 1
}

/**
 * The tail; where it is a seal also the file before it, and so on: an owner that sealed and died before it put what its
 * standbys told it has left them that task.
 */
async function tailsBefore(at: HistoryLocation, tail: Tail): Promise<Tail[]> {
  const line = [tail]
  for (let current = tail; line.length < sealsInRowMax; line.push(current)) {
    const txid = current.header.maxTxid
    const slot = await getSlot(at, txid)
    if (slot === null || !isSeal({ level: 0, sizeBytes: slot.bytes.length })) break
    const before = await getSlot(at, (txid - 1) as Txid)
    if (before === null) break
    current = before
  }
  return line
}

export class StandbyCouncil {
  readonly #sets: readonly { readonly epoch: number; readonly nodes: readonly StandbyNode[] }[]
  readonly #own: readonly StandbyNode[]
  readonly #log: Logger
  readonly #held = new Map<string, HeldChain | null>()
  readonly #asked = new Set<StandbyNode>()
  #content: { readonly chain: HeldChain; readonly content: ChainContent } | null = null

  /**
   * @param sets the standbys that were recorded, each set with the epoch from which on it counted; each standby of one
   *   name is one and the same object. Those of epochs that never sealed are passed over.
   * @param own those of this opening.
   */
  constructor(options: {
    readonly sets: readonly { readonly epoch: number; readonly nodes: readonly StandbyNode[] }[]
    readonly own: readonly StandbyNode[]
    readonly log: Logger
  }) {
    this.#sets = options.sets
    this.#own = options.own
    this.#log = options.log
  }

  /** A `Recover` of seal.ts. Throws StandbysUnreachableError, StaleEpochError, StandbyChainError; ObjectStoreError. */
  async recover(tail: Tail, writer: LtxWriter, at: HistoryLocation): Promise<ChainContent | null> {
    const until = this.#sets.filter(({ epoch }) => epoch <= tail.header.writer.epoch)
    const line = until.length > 1 ? await tailsBefore(at, tail) : null
    // Whoever has written anything but a seal had asked the standbys of all epochs before its own.
    const asked = line === null ? 0 : line.at(-1)!.header.writer.epoch
    const sets = until.slice(
      Math.max(
        0,
        until.findLastIndex(({ epoch }) => epoch <= asked),
      ),
    )
    const concerned = new Set([...sets.flatMap(({ nodes }) => nodes), ...this.#own])
    await Promise.all([...concerned].map((node) => this.#ask(node, writer)))
    for (const { nodes } of sets) this.#assertEnough(nodes)
    const held = sets.flatMap(({ nodes }) => nodes.filter(({ name }) => this.#held.get(name)))
    if (held.length === 0) return null
    for (const before of line ?? (await tailsBefore(at, tail))) {
      const { epoch, incarnation } = before.header.writer
      let best: { readonly node: StandbyNode; readonly chain: HeldChain } | null = null
      for (const node of held) {
        const chain = this.#held.get(node.name)!
        if (chain.writer.epoch !== epoch || chain.writer.incarnation !== incarnation) continue
        if (best === null || chain.lastSeq > best.chain.lastSeq) best = { node, chain }
      }
      if (best === null) continue
      const content = await this.#contentOf(best.node, best.chain, writer)
      if (content.pageSize !== tail.header.pageSize)
        throw new StandbyChainError(`standby ${best.node.name} holds pages of ${content.pageSize} bytes`)
      return goesBehind(best.chain, content.walEnd, before.header) ? content : null
    }
    return null
  }

  /** The own standbys that promised. */
  peers(writer: LtxWriter): StandbyPeer[] {
    return this.#own
      .filter(({ name }) => this.#held.has(name))
      .map((node) => ({
        name: node.name,
        append: (unit, deadlineMs) => node.append(writer, unit, deadlineMs),
        release: () => node.release(writer),
      }))
  }

  /** Above every unit that any of them has. */
  get firstSeq(): number {
    let last = firstSeqMin - 1
    for (const chain of this.#held.values()) last = Math.max(last, chain?.lastSeq ?? 0)
    return last + 1
  }

  /** Once the seal has landed: predecessors' standbys that are not ours have nothing to keep. */
  async releaseOthers(writer: LtxWriter): Promise<void> {
    const others = [...this.#asked].filter((node) => this.#held.has(node.name) && !this.#own.includes(node))
    await Promise.all(
      others.map((node) =>
        node.release(writer).catch((error) => {
          this.#log.warn('standby was not released', { standby: node.name, error: errorMessage(error) })
        }),
      ),
    )
  }

  #assertEnough(set: readonly StandbyNode[]): void {
    const answered = set.filter(({ name }) => this.#held.has(name)).length
    const needed = set.length - acksMinOf(set.length) + 1
    if (set.length > 0 && answered < needed)
      throw new StandbysUnreachableError(
        `${answered} of the standbys ${set.map(({ name }) => name).join(', ')} answer, ${needed} are needed`,
      )
  }

  async #ask(node: StandbyNode, writer: LtxWriter): Promise<void> {
    if (this.#held.has(node.name)) return
    this.#asked.add(node)
    let outcome: PromiseOutcome
    try {
      outcome = await node.promise(writer)
    } catch (error) {
      this.#log.warn('standby did not answer a takeover', { standby: node.name, error: errorMessage(error) })
      return
    }
    if (!outcome.accepted) throw new StaleEpochError(`standby ${node.name}`, writer.epoch, outcome.epoch)
    this.#held.set(node.name, outcome.held)
  }

  async #contentOf(node: StandbyNode, chain: HeldChain, reader: LtxWriter): Promise<ChainContent> {
    if (this.#content?.chain === chain) return this.#content.content
    const content = await this.#fetch(node, chain, reader)
    this.#content = { chain, content }
    this.#log.info('commits were fetched from a standby', { standby: node.name, pages: content.pages.size })
    return content
  }

  async #fetch(node: StandbyNode, chain: HeldChain, reader: LtxWriter): Promise<ChainContent> {
    const parts: Uint8Array[] = []
    for (let from = 0; from < chain.sizeBytes; from += readBytes) {
      const part = await node.read(reader, { from, to: Math.min(from + readBytes, chain.sizeBytes) })
      if (part === null || part.length === 0)
        throw new StandbyChainError(`standby ${node.name} has let go of its chain`)
      parts.push(part)
    }
    const decoded = decodeChain(concat(parts))
    if (!decoded.ok) throw decoded.error
    if (decoded.value.units.length !== chain.lastSeq - chain.chainSeq + 1)
      throw new StandbyChainError(`standby ${node.name} has ${decoded.value.units.length} units of its chain`)
    return contentOf(decoded.value)
  }
}
