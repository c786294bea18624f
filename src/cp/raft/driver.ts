// The one loop around the pure core: inputs → step → persist → send → apply. Inputs that queue up while the disk works
// are stepped together and share one fsync.

import type { Cancel, Clock } from '../../lib/clock.ts'
import { AppError, errorMessage, OverloadedError, TimeoutError } from '../../lib/errors.ts'
import type { Logger } from '../../lib/obs/log.ts'
import type { Rng } from '../../lib/rng.ts'
import { Raft } from './core/raft.ts'
import type { Entry, Index, Input, MemberId, Ready, SnapshotMeta, Term } from './core/types.ts'
import type { LogStore, LogWrite } from './storage/log-store.ts'
import type { Transport } from './transport/transport.ts'

/** What committed entries are applied to. */
export interface StateMachine<Outcome> {
  readonly appliedIndex: number
  apply(committed: readonly { readonly index: number; readonly data: Uint8Array | null }[]): Promise<readonly Outcome[]>
}

/** This member does not lead; `leader` does, as far as it knows. Nothing was decided: ask there, or again. */
export class NotLeaderError extends AppError {
  readonly code = 'no_leader'
  readonly leader: MemberId | null
  constructor(leader: MemberId | null) {
    super(leader === null ? 'no leader is known' : `${leader} is the leader`)
    this.leader = leader
  }
}

/** The member has stopped, or stopped while the request was under way: it may or may not have been decided. */
export class MemberStoppedError extends AppError {
  readonly code = 'member_stopped'
}

export interface DriverOptions<Outcome> {
  readonly id: MemberId
  readonly store: LogStore
  readonly machine: StateMachine<Outcome>
  readonly transport: Transport
  readonly clock: Clock
  readonly rng: Rng
  readonly log: Logger
  /** The voters of a group that starts for the first time. */
  readonly voters: readonly MemberId[]
  /** Seconds each batch took from the queue to its application. */
  readonly observeCommit?: (seconds: number) => void
}

const tickMs = 50
const electionTicks = 10
const heartbeatTicks = 2
/** Inputs that wait for the disk; more are refused. */
const queueMax = 20_000
/** Entries after which the log is cut, and how many stay for members that lag. */
const compactAfterEntries = 10_000
const keepEntries = 1_000

interface Pending<Outcome> {
  readonly resolve: (outcome: Outcome) => void
  readonly reject: (error: unknown) => void
}

export class RaftDriver<Outcome> implements AsyncDisposable {
  readonly #options: DriverOptions<Outcome>
  readonly #raft: Raft
  #queue: Input[] = []
  #running: Promise<void> | null = null
  #cancelTick: Cancel = () => {}
  #stopped: Error | null = null
  #nextId = 1
  /** By proposal id, until it has a place in the log; then by index. */
  readonly #proposals = new Map<number, Pending<Outcome>>()
  readonly #placed = new Map<number, Pending<Outcome> & { readonly term: Term }>()
  readonly #reads = new Map<number, Pending<void>>()
  #readsWaiting: { readonly index: Index; readonly pending: Pending<void> }[] = []
  readonly #failure = Promise.withResolvers<unknown>()
  #leaderWaiters: (() => void)[] = []

  constructor(options: DriverOptions<Outcome>, raft: Raft) {
    this.#options = options
    this.#raft = raft
    options.transport.onMessage = (message) => this.#enqueue({ type: 'message', message })
  }

  /** Settles when the member had to stop itself. */
  get failed(): Promise<unknown> {
    return this.#failure.promise
  }

  get status() {
    const { id, role, term, leader, commitIndex, log, membership } = this.#raft
    const { appliedIndex } = this.#options.machine
    const logEntries = log.lastIndex - log.baseIndex
    return { id, role, term, leader, commitIndex, appliedIndex, lastIndex: log.lastIndex, logEntries, membership }
  }

  /** True once this member leads and has applied everything that was committed before it did. */
  get isReady(): boolean {
    const { role, log, commitIndex, term } = this.#raft
    return role === 'leader' && log.termAt(commitIndex) === term && this.#options.machine.appliedIndex >= commitIndex
  }

  start(): void {
    const tick = () => {
      if (this.#stopped !== null) return
      this.#enqueue({ type: 'tick' })
      this.#cancelTick = this.#options.clock.setTimer(tickMs, tick)
    }
    tick()
  }

  /** Resolves when this member is ready to decide; throws TimeoutError. */
  async ready(timeoutMs: number): Promise<void> {
    if (this.isReady) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#leaderWaiters.push(resolve)
    const cancel = this.#options.clock.setTimer(timeoutMs, () =>
      reject(new TimeoutError(`no leader within ${timeoutMs} ms`)),
    )
    try {
      await Promise.race([promise, this.failed.then((error) => Promise.reject(error))])
    } finally {
      cancel()
    }
  }

  /**
   * Decides `data`; resolves with the outcome of its application, once it is durable on a quorum and applied here.
   * Rejects with NotLeaderError (nothing happened), OverloadedError, or MemberStoppedError (unknown).
   */
  propose(data: Uint8Array): Promise<Outcome> {
    if (this.#queue.length >= queueMax) return Promise.reject(new OverloadedError(`${queueMax} inputs wait already`))
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#proposals.set(id, { resolve, reject })
      this.#enqueue({ type: 'propose', id, data })
    })
  }

  /** Resolves when the applied state is at least as new as every command acknowledged before this call. */
  read(): Promise<void> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#reads.set(id, { resolve, reject })
      this.#enqueue({ type: 'read', id })
    })
  }

  async close(): Promise<void> {
    this.#stop(new MemberStoppedError('the member was closed'))
    await this.#running
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #stop(error: Error): void {
    if (this.#stopped !== null) return
    this.#stopped = error
    this.#cancelTick()
    this.#queue = []
    const waiting = [...this.#proposals.values(), ...this.#placed.values(), ...this.#reads.values()]
    for (const { reject } of [...waiting, ...this.#readsWaiting.map(({ pending }) => pending)]) reject(error)
    this.#proposals.clear()
    this.#placed.clear()
    this.#reads.clear()
    this.#readsWaiting = []
  }

  #enqueue(input: Input): void {
    if (this.#stopped !== null) {
      if (input.type === 'propose') this.#take(this.#proposals, input.id)?.reject(this.#stopped)
      if (input.type === 'read') this.#take(this.#reads, input.id)?.reject(this.#stopped)
      return
    }
    this.#queue.push(input)
    this.#running ??= this.#run()
  }

  #take<T>(map: Map<number, T>, id: number): T | undefined {
    const found = map.get(id)
    map.delete(id)
    return found
  }

  async #run(): Promise<void> {
    try {
      await null // everything that is proposed in this turn of the event loop shares one fsync
      while (this.#queue.length > 0 && this.#stopped === null) {
        const startedMs = this.#options.clock.monotonic()
        const inputs = this.#queue
        this.#queue = []
        await this.#work(inputs.map((input) => this.#raft.step(input)))
        if (inputs.some(({ type }) => type === 'propose'))
          this.#options.observeCommit?.((this.#options.clock.monotonic() - startedMs) / 1000)
      }
    } catch (error) {
      this.#options.log.error('raft member stopped', { error })
      this.#stop(new MemberStoppedError(`the member stopped: ${errorMessage(error)}`, { cause: error }))
      this.#failure.resolve(error)
    } finally {
      this.#running = null
    }
  }

  /** The order is the promise: write and sync, then send, then apply, then answer. */
  async #work(readies: readonly Ready[]): Promise<void> {
    const { store, transport } = this.#options
    for (const ready of readies) this.#answer(ready)
    const writes: LogWrite[] = readies
      .filter((ready) => ready.hardState !== null || ready.entries.length > 0 || ready.snapshot !== null)
      .map(({ hardState, entries, snapshot }) => ({ hardState, entries, base: snapshot }))
    if (writes.length > 0) await store.write(writes)
    for (const { messages } of readies) for (const message of messages) transport.send(message)
    await this.#apply(readies.flatMap(({ committed }) => committed))
    const last = writes.findLast(({ entries }) => entries.length > 0)?.entries.at(-1)
    if (last !== undefined)
      await this.#work([this.#raft.step({ type: 'persisted', upTo: last.index, term: last.term })])
    await this.#compactIfLong()
    if (this.isReady) for (const resolve of this.#leaderWaiters.splice(0)) resolve()
  }

  #answer(ready: Ready): void {
    for (const { id, index, term } of ready.proposed) {
      const pending = this.#take(this.#proposals, id)
      if (pending !== undefined) this.#placed.set(index, { ...pending, term })
    }
    for (const { id, leader } of ready.refused) this.#take(this.#proposals, id)?.reject(new NotLeaderError(leader))
    for (const { id, index } of ready.reads) {
      const pending = this.#take(this.#reads, id)
      if (pending === undefined) continue
      if (index === null) pending.reject(new NotLeaderError(this.#raft.leader))
      else if (index <= this.#options.machine.appliedIndex) pending.resolve()
      else this.#readsWaiting.push({ index, pending })
    }
  }

  async #apply(committed: readonly Entry[]): Promise<void> {
    if (committed.length === 0) return
    const { machine } = this.#options
    const outcomes = await machine.apply(
      committed.map(({ index, payload }) => ({ index, data: payload.type === 'command' ? payload.data : null })),
    )
    for (const [at, { index, term }] of committed.entries()) {
      const pending = this.#take(this.#placed, index)
      if (pending === undefined) continue
      if (pending.term === term) pending.resolve(outcomes[at]!)
      else pending.reject(new NotLeaderError(this.#raft.leader)) // another leader's entry took the place
    }
    const waiting = this.#readsWaiting
    this.#readsWaiting = waiting.filter(({ index }) => index > machine.appliedIndex)
    for (const { index, pending } of waiting) if (index <= machine.appliedIndex) pending.resolve()
  }

  /** The rows in RocksDB are the snapshot: the synced write of the new base makes them durable as well. */
  async #compactIfLong(): Promise<void> {
    const { log, appliedUpTo } = this.#raft
    if (log.lastIndex - log.baseIndex < compactAfterEntries) return
    const before = log.baseIndex
    this.#raft.step({ type: 'compact', upTo: appliedUpTo, keep: keepEntries })
    if (log.baseIndex > before) await this.#options.store.write([{ hardState: null, entries: [], base: log.base }])
  }
}

/** Loads what the member promised before, or begins a new group, and starts its loop. */
export async function openRaftDriver<Outcome>(options: DriverOptions<Outcome>): Promise<RaftDriver<Outcome>> {
  const { id, store, machine, rng, voters } = options
  let stored = await store.load()
  if (stored === null) {
    const base: SnapshotMeta = {
      index: 0 as Index,
      term: 0 as Term,
      membership: { voters, outgoing: [], learners: [] },
    }
    const hardState = { term: 0 as Term, votedFor: null }
    await store.write([{ hardState, entries: [], base }])
    stored = { hardState, base, entries: [] }
  }
  const appliedIndex = machine.appliedIndex as Index
  const driver = new RaftDriver(options, new Raft({ ...stored, id, appliedIndex, rng, electionTicks, heartbeatTicks }))
  driver.start()
  return driver
}
