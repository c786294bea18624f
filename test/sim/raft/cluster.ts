// Whole Raft groups in one process: the network drops, delays, doubles and cuts; members crash and come back with what
// they had synced. Everything is drawn from one seed.

import { Raft } from '../../../src/cp/raft/core/raft.ts'
import type {
  Entry,
  HardState,
  Index,
  Input,
  MemberId,
  Message,
  Ready,
  SnapshotMeta,
  Term,
} from '../../../src/cp/raft/core/types.ts'
import { fromUtf8, utf8 } from '../../../src/lib/bytes.ts'
import { type Rng, seededRng, uniform } from '../../../src/lib/rng.ts'

export interface Faults {
  readonly drop: number
  readonly duplicate: number
  readonly delayTicksMax: number
  readonly partition: number
  readonly crash: number
  readonly compact: number
  readonly membership: number
  readonly transfer: number
}

export const noFaults: Faults = {
  drop: 0,
  duplicate: 0,
  delayTicksMax: 1,
  partition: 0,
  crash: 0,
  compact: 0,
  membership: 0,
  transfer: 0,
}

/** Swarm testing: each seed switches some faults off and weighs the rest differently. */
export function swarm(rng: Rng): Faults {
  const some = (max: number) => (rng.below(3) === 0 ? 0 : uniform(rng) * max)
  return {
    drop: some(0.3),
    duplicate: some(0.1),
    delayTicksMax: 1 + rng.below(6),
    partition: some(0.02),
    crash: some(0.01),
    compact: some(0.05),
    membership: some(0.01),
    transfer: some(0.01),
  }
}

interface Disk {
  hardState: HardState
  base: SnapshotMeta
  entries: Entry[]
  /** The applied state: every command in order, and up to where. */
  applied: string[]
  appliedIndex: number
  /** The state as it was at `base`, for snapshots. */
  atBase: string[]
}

interface Member {
  readonly id: MemberId
  readonly disk: Disk
  raft: Raft | null
}

export class ClusterSim {
  readonly rng: Rng
  readonly members: Member[] = []
  faults: Faults
  now = 0
  #inFlight: { readonly at: number; readonly message: Message; readonly state: readonly string[] | null }[] = []
  #cut = new Set<MemberId>()
  #nextProposal = 1
  readonly acknowledged = new Set<string>()
  readonly #waiting = new Map<number, { readonly text: string; readonly term: Term; readonly by: MemberId }[]>()
  /** Leaders by term, for election safety. */
  readonly leaders = new Map<number, MemberId>()
  /** Everything ever applied, by index, for state machine safety. */
  readonly applied = new Map<number, string>()
  readonly readsChecked = { count: 0 }
  readonly #reads = new Map<number, { readonly by: MemberId; readonly atLeast: number }>()

  constructor(options: { readonly seed: number; readonly members: number; readonly faults: Faults }) {
    this.rng = seededRng(options.seed)
    this.faults = options.faults
    const ids = Array.from({ length: options.members }, (_, at) => `m${at}` as MemberId)
    for (const id of ids) {
      const base: SnapshotMeta = {
        index: 0 as Index,
        term: 0 as Term,
        membership: { voters: ids, outgoing: [], learners: [] },
      }
      const hardState = { term: 0 as Term, votedFor: null }
      this.members.push({
        id,
        disk: { hardState, base, entries: [], applied: [], appliedIndex: 0, atBase: [] },
        raft: null,
      })
    }
    for (const member of this.members) this.#restart(member)
  }

  get leader(): Member | undefined {
    return this.members.find(({ raft }) => raft?.role === 'leader')
  }

  run(ticks: number): void {
    for (let tick = 0; tick < ticks; tick++) this.tick()
  }

  tick(): void {
    this.now++
    const { faults, rng } = this
    if (uniform(rng) < faults.partition) {
      const isHealing = this.#cut.size > 0
      this.#cut = new Set(isHealing ? [] : this.members.filter(() => rng.below(2) === 0).map(({ id }) => id))
    }
    for (const member of this.members) {
      if (member.raft === null) {
        if (rng.below(20) === 0) this.#restart(member)
        continue
      }
      if (uniform(rng) < faults.crash) {
        member.raft = null
        continue
      }
      this.#step(member, { type: 'tick' })
      if (rng.below(4) === 0) this.#propose(member)
      if (rng.below(8) === 0) this.#read(member)
      if (uniform(rng) < faults.compact) this.#compact(member)
      if (uniform(rng) < faults.transfer)
        this.#step(member, { type: 'transfer', to: this.members[rng.below(this.members.length)]!.id })
      if (uniform(rng) < faults.membership) this.#changeMembership(member)
    }
    const due = this.#inFlight.filter(({ at }) => at <= this.now)
    this.#inFlight = this.#inFlight.filter(({ at }) => at > this.now)
    for (const { message, state } of due) {
      const to = this.members.find(({ id }) => id === message.to)
      if (to?.raft == null || this.#cut.has(message.from) !== this.#cut.has(message.to)) continue
      this.#step(to, { type: 'message', message }, state)
    }
    this.#check()
  }

  /** Faults stop; everybody is a voter again and comes back. */
  heal(): void {
    this.faults = noFaults
    this.#cut.clear()
    for (const member of this.members) if (member.raft === null) this.#restart(member)
  }

  get isConverged(): boolean {
    const [first, ...rest] = this.members
    const leader = this.leader?.raft
    if (!leader || leader.log.termAt(leader.commitIndex) !== leader.term) return false
    const voters = new Set([...leader.membership.voters, ...leader.membership.learners])
    const counted = [first!, ...rest].filter(({ id }) => voters.has(id))
    return counted.every(({ disk }) => disk.appliedIndex >= leader.commitIndex - 20)
  }

  #restart(member: Member): void {
    const { disk } = member
    member.raft = new Raft({
      id: member.id,
      hardState: disk.hardState,
      base: disk.base,
      entries: disk.entries,
      appliedIndex: disk.appliedIndex as Index,
      rng: this.rng,
      electionTicks: 10,
      heartbeatTicks: 2,
    })
  }

  #propose(member: Member): void {
    const id = this.#nextProposal++
    this.#step(member, { type: 'propose', id, data: utf8(`p${id}`) })
  }

  #read(member: Member): void {
    const id = this.#nextProposal++
    // What was acknowledged before the read must be visible to it.
    const atLeast = Math.max(0, ...[...this.#acknowledgedIndexes])
    this.#reads.set(id, { by: member.id, atLeast })
    this.#step(member, { type: 'read', id })
  }

  #acknowledgedIndexes: number[] = [0]

  #compact(member: Member): void {
    const { raft, disk } = member
    if (raft === null) return
    this.#step(member, { type: 'compact', upTo: raft.appliedUpTo, keep: 0 })
    disk.base = raft.log.base
    disk.entries = disk.entries.filter(({ index }) => index > disk.base.index)
    disk.atBase = disk.applied.slice()
  }

  #changeMembership(member: Member): void {
    const ids = this.members.map(({ id }) => id)
    const out = ids[this.rng.below(ids.length)]!
    if (member.raft === null) return
    const isSmall = member.raft.membership.voters.length < ids.length
    this.#step(member, {
      type: 'change.membership',
      voters: isSmall ? ids : ids.filter((id) => id !== out),
      learners: [],
    })
  }

  #step(member: Member, input: Input, state: readonly string[] | null = null): void {
    if (member.raft === null) return // crashed earlier in this tick
    this.#work(member, member.raft.step(input), state)
  }

  #work(member: Member, ready: Ready, state: readonly string[] | null): void {
    const { disk } = member
    for (const { id, index, term } of ready.proposed) {
      const waiting = this.#waiting.get(index) ?? []
      this.#waiting.set(index, [...waiting, { text: `p${id}`, term, by: member.id }])
    }
    for (const { id, index } of ready.reads) {
      const read = this.#reads.get(id)
      this.#reads.delete(id)
      if (index === null || read === undefined) continue
      this.readsChecked.count++
      if (index < read.atLeast) throw new Error(`read ${id} saw ${index}, but ${read.atLeast} was acknowledged before`)
    }
    if (ready.hardState !== null) disk.hardState = ready.hardState
    if (ready.snapshot !== null) {
      if (state === null) throw new Error('a snapshot came without its state')
      disk.base = ready.snapshot
      disk.entries = []
      disk.applied = [...state]
      disk.atBase = [...state]
      disk.appliedIndex = ready.snapshot.index
    }
    const first = ready.entries[0]
    if (first !== undefined)
      disk.entries = [...disk.entries.filter(({ index }) => index < first.index), ...ready.entries]
    // A crash may come between the disk and the network.
    if (uniform(this.rng) < this.faults.crash) {
      member.raft = null
      return
    }
    for (const message of ready.messages) this.#send(member, message)
    for (const entry of ready.committed) this.#apply(member, entry)
    const last = ready.entries.at(-1)
    if (last !== undefined && member.raft !== null)
      this.#step(member, { type: 'persisted', upTo: last.index, term: last.term })
  }

  #send(member: Member, message: Message): void {
    const { rng, faults } = this
    const state = message.type === 'snapshot' ? member.disk.atBase.slice() : null
    const copies = uniform(rng) < faults.duplicate ? 2 : 1
    for (let copy = 0; copy < copies; copy++)
      if (uniform(rng) >= faults.drop)
        this.#inFlight.push({ at: this.now + 1 + rng.below(faults.delayTicksMax), message, state })
  }

  #apply(member: Member, entry: Entry): void {
    const { disk } = member
    if (entry.index !== disk.appliedIndex + 1)
      throw new Error(`${member.id} applied ${entry.index} after ${disk.appliedIndex}`)
    disk.appliedIndex = entry.index
    const { payload } = entry
    const text = payload.type === 'command' ? fromUtf8(payload.data) : payload.type
    if (payload.type === 'command') disk.applied.push(text)
    const before = this.applied.get(entry.index)
    const mine = `${entry.term}:${text}`
    if (before !== undefined && before !== mine)
      throw new Error(`state machine safety: ${entry.index} is ${before} and ${mine}`)
    this.applied.set(entry.index, mine)
    for (const { text: proposed, term, by } of this.#waiting.get(entry.index) ?? [])
      if (by === member.id && term === entry.term && proposed === text) {
        this.acknowledged.add(`${entry.index}:${mine}`)
        this.#acknowledgedIndexes = [Math.max(entry.index, this.#acknowledgedIndexes[0]!)]
      }
  }

  #check(): void {
    for (const { id, raft } of this.members) {
      if (raft?.role !== 'leader') continue
      const known = this.leaders.get(raft.term)
      if (known !== undefined && known !== id)
        throw new Error(`election safety: ${known} and ${id} led term ${raft.term}`)
      this.leaders.set(raft.term, id)
      // Leader completeness: what was ever applied anywhere before this term is in the leader's log.
      for (let index = raft.log.baseIndex + 1; index <= raft.log.lastIndex; index++) {
        const applied = this.applied.get(index)
        if (applied === undefined) continue
        const term = Number(applied.split(':')[0])
        if (term < raft.term && raft.log.termAt(index as Index) !== term)
          throw new Error(`leader completeness: ${id} lacks ${index} of term ${term} in term ${raft.term}`)
      }
    }
    this.#checkLogMatching()
  }

  #checkLogMatching(): void {
    const [a, b] = [this.rng.below(this.members.length), this.rng.below(this.members.length)].map(
      (at) => this.members[at]!.disk.entries,
    )
    const other = new Map(b!.map((entry) => [entry.index as number, entry]))
    let mustMatch = false
    for (const entry of a!.toReversed()) {
      const twin = other.get(entry.index)
      if (twin === undefined) continue
      if (twin.term === entry.term) mustMatch = true
      else if (mustMatch) throw new Error(`log matching: the logs differ at ${entry.index} below a common entry`)
    }
  }
}
