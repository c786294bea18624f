// The Raft member as a pure machine: one input, one step, one description of what to do. Everything it needs to decide
// is in its fields. Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014); section numbers refer to it.

import { assert, unreachable } from '../../../lib/assert.ts'
import type { Rng } from '../../../lib/rng.ts'
import { RaftLog } from './log.ts'
import { finalMembership, isVoter, jointMembership, membersOf } from './membership.ts'
import { Progress } from './progress.ts'
import { hasQuorum, quorumIndex } from './quorum.ts'
import { ReadIndex } from './read-index.ts'
import type {
  Entry,
  EntryPayload,
  HardState,
  Index,
  Input,
  MemberId,
  Membership,
  Message,
  Ready,
  SnapshotMeta,
  Term,
} from './types.ts'

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

export interface RaftOptions {
  readonly id: MemberId
  readonly hardState: HardState
  /** What stands before `entries`; index 0 and the first membership for a new group. */
  readonly base: SnapshotMeta
  readonly entries: readonly Entry[]
  /** What the state already holds; at least `base.index`. */
  readonly appliedIndex: Index
  readonly rng: Rng
  /** Ticks of silence before a follower asks for votes; each election draws from [electionTicks, 2 × electionTicks). */
  readonly electionTicks: number
  readonly heartbeatTicks: number
}

/** Data in one append, bytes: small enough not to hold up the votes behind it. */
const appendBytesMax = 512 * 1024
/** Entries that may wait for their commit; beyond it proposals are refused. */
const uncommittedMax = 10_000

interface Outbox {
  messages: Message[]
  committed: Entry[]
  proposed: { id: number; index: Index; term: Term }[]
  refused: { id: number; leader: MemberId | null }[]
  reads: { id: number; index: Index | null }[]
  snapshot: SnapshotMeta | null
}

const emptyOutbox = (): Outbox => ({
  messages: [],
  committed: [],
  proposed: [],
  refused: [],
  reads: [],
  snapshot: null,
})

type MessageBody = Message extends infer M ? (M extends Message ? Omit<M, 'from' | 'to' | 'term'> : never) : never
type Of<T extends Message['type']> = Extract<Message, { readonly type: T }>

export class Raft {
  readonly id: MemberId
  readonly log: RaftLog
  role: Role = 'follower'
  term: Term
  votedFor: MemberId | null
  leader: MemberId | null = null
  commitIndex: Index
  readonly #options: RaftOptions
  /** Entries handed out as committed. */
  #handedOut: Index
  /** Our own log up to here is on disk. */
  #persistedIndex: Index
  /** First index not yet handed out for writing. */
  #unwrittenFrom: Index
  #writtenHardState: HardState
  #progress = new Map<MemberId, Progress>()
  #votes = new Map<MemberId, boolean>()
  #reads = new ReadIndex()
  #elapsedTicks = 0
  #quorumTicks = 0
  #timeoutTicks = 0
  #transferTo: MemberId | null = null
  #out = emptyOutbox()

  constructor(options: RaftOptions) {
    this.id = options.id
    this.#options = options
    this.log = new RaftLog(options.base, options.entries)
    this.term = options.hardState.term
    this.votedFor = options.hardState.votedFor
    this.#writtenHardState = options.hardState
    assert(options.appliedIndex >= options.base.index, 'the state is older than the log reaches back')
    assert(options.appliedIndex <= this.log.lastIndex, 'the state is newer than the log')
    this.commitIndex = options.appliedIndex
    this.#handedOut = options.appliedIndex
    this.#persistedIndex = this.log.lastIndex
    this.#unwrittenFrom = (this.log.lastIndex + 1) as Index
    this.#resetTimer()
  }

  get membership(): Membership {
    return this.log.membership
  }

  get appliedUpTo(): Index {
    return this.#handedOut
  }

  /** Of the others, while leading; for status pages and tests. */
  get progress(): ReadonlyMap<MemberId, Progress> {
    return this.#progress
  }

  /**
   * Advances by one input and says what to do about it. Deterministic: reads no clock, awaits nothing, and draws
   * election jitter from its rng alone. Bad input from a peer is dropped; a broken invariant of our own is an assertion.
   */
  step(input: Input): Ready {
    switch (input.type) {
      case 'tick':
        this.#tick()
        break
      case 'propose':
        this.#propose(input.id, input.data)
        break
      case 'message':
        this.#receive(input.message)
        break
      case 'persisted':
        if (this.log.termAt(input.upTo) === input.term && input.upTo > this.#persistedIndex)
          this.#persistedIndex = input.upTo
        if (this.role === 'leader') this.#advanceCommit()
        break
      case 'read':
        this.#read(input.id)
        break
      case 'change.membership':
        this.#changeMembership(input.voters, input.learners)
        break
      case 'transfer':
        this.#transfer(input.to)
        break
      case 'compact':
        this.#compact(input.upTo, input.keep)
        break
      default:
        unreachable(input)
    }
    return this.#ready()
  }

  #ready(): Ready {
    const changed = this.term !== this.#writtenHardState.term || this.votedFor !== this.#writtenHardState.votedFor
    const hardState = changed ? { term: this.term, votedFor: this.votedFor } : null
    if (hardState !== null) this.#writtenHardState = hardState
    const entries = this.log.slice(this.#unwrittenFrom, this.log.lastIndex + 1)
    this.#unwrittenFrom = (this.log.lastIndex + 1) as Index
    // A member applies only what it has written: its own disk is what it would apply from after a crash.
    const committed = this.log.slice((this.#handedOut + 1) as Index, this.commitIndex + 1)
    if (committed.length > 0) this.#handedOut = committed.at(-1)!.index
    const { messages, proposed, refused, reads, snapshot } = this.#out
    this.#out = emptyOutbox()
    return { hardState, snapshot, entries, messages, committed, proposed, refused, reads }
  }

  // Time

  #tick() {
    this.#elapsedTicks++
    if (this.role === 'leader') return this.#tickLeader()
    if (!this.membership.voters.includes(this.id) && !this.membership.outgoing.includes(this.id)) return
    const isAlone = this.membership.voters.length === 1 && this.membership.outgoing.length === 0
    if (isAlone || this.#elapsedTicks >= this.#timeoutTicks) this.#campaign({ pre: true, transfer: false })
  }

  #tickLeader() {
    const { electionTicks, heartbeatTicks } = this.#options
    this.#quorumTicks++
    if (this.#quorumTicks >= electionTicks) {
      this.#quorumTicks = 0
      this.#transferTo = null // a transfer that took this long has failed; take proposals again
      const isActive = (id: MemberId) => id === this.id || this.#progress.get(id)?.isActive === true
      // CheckQuorum (§6.2): a leader that a majority no longer hears of must not go on answering.
      if (!hasQuorum(this.membership, isActive)) return this.#become('follower', this.term, null)
      for (const progress of this.#progress.values()) {
        progress.isActive = false
        // The snapshot may have been lost on the way: ask again where the member stands.
        if (progress.state === 'snapshot') progress.probeFrom((progress.matchIndex + 1) as Index)
      }
    }
    if (this.#elapsedTicks >= heartbeatTicks) {
      this.#elapsedTicks = 0
      for (const [id, progress] of this.#progress) {
        progress.isPaused = false
        if (progress.state === 'snapshot') this.#sendHeartbeat(id, progress)
        else if (progress.maySend) this.#sendAppend(id, progress, true)
        else this.#sendHeartbeat(id, progress)
      }
    }
  }

  #resetTimer() {
    this.#elapsedTicks = 0
    this.#timeoutTicks = this.#options.electionTicks + this.#options.rng.below(this.#options.electionTicks)
  }

  // Roles

  #become(role: Role, term: Term, leader: MemberId | null) {
    const wasLeader = this.role === 'leader'
    if (term !== this.term) {
      assert(term > this.term, 'terms only rise')
      this.term = term
      this.votedFor = null
    }
    this.role = role
    this.leader = leader
    this.#transferTo = null
    this.#votes.clear()
    this.#resetTimer()
    if (wasLeader && role !== 'leader') {
      this.#progress.clear()
      for (const id of this.#reads.clear()) this.#out.reads.push({ id, index: null })
    }
  }

  #campaign({ pre, transfer }: { readonly pre: boolean; readonly transfer: boolean }) {
    if (pre) {
      this.role = 'pre-candidate'
      this.leader = null
      this.#votes.clear()
      this.#resetTimer()
    } else {
      this.#become('candidate', (this.term + 1) as Term, null)
      this.votedFor = this.id
    }
    this.#votes.set(this.id, true)
    const term = (pre ? this.term + 1 : this.term) as Term
    for (const to of this.#others())
      if (isVoter(this.membership, to))
        this.#send(
          to,
          { type: 'vote', pre, transfer, lastIndex: this.log.lastIndex, lastTerm: this.log.lastTerm },
          term,
        )
    this.#countVotes()
  }

  #countVotes() {
    if (hasQuorum(this.membership, (id) => this.#votes.get(id) === true)) {
      if (this.role === 'pre-candidate') this.#campaign({ pre: false, transfer: false })
      else this.#lead()
    } else if (!hasQuorum(this.membership, (id) => this.#votes.get(id) !== false)) {
      this.#become('follower', this.term, null)
    }
  }

  #lead() {
    this.#become('leader', this.term, this.id)
    this.#reads = new ReadIndex()
    this.#quorumTicks = 0
    this.#syncProgress()
    this.#append({ type: 'noop' })
    this.#advanceMembership()
  }

  // Proposals

  #propose(id: number, data: Uint8Array) {
    const isFull = this.log.lastIndex - this.commitIndex >= uncommittedMax
    if (this.role !== 'leader' || this.#transferTo !== null || isFull) {
      const leader = this.#transferTo ?? (this.leader === this.id ? null : this.leader)
      this.#out.refused.push({ id, leader })
      return
    }
    const index = this.#append({ type: 'command', data })
    this.#out.proposed.push({ id, index, term: this.term })
  }

  #append(payload: EntryPayload): Index {
    const index = (this.log.lastIndex + 1) as Index
    this.log.replaceFrom([{ index, term: this.term, payload }])
    if (payload.type === 'membership') this.#syncProgress()
    this.#broadcast()
    return index
  }

  #changeMembership(voters: readonly MemberId[], learners: readonly MemberId[]) {
    if (this.role !== 'leader' || this.log.membershipIndex > this.commitIndex) return
    const joint = jointMembership(this.membership, { voters, learners })
    if (joint !== null) this.#append({ type: 'membership', membership: joint })
  }

  /** Once the joint membership is committed the leader appends the final one; once that is, it may have to go. */
  #advanceMembership() {
    if (this.role !== 'leader' || this.log.membershipIndex > this.commitIndex) return
    if (this.membership.outgoing.length > 0)
      this.#append({ type: 'membership', membership: finalMembership(this.membership) })
    else if (!this.membership.voters.includes(this.id)) this.#become('follower', this.term, null)
  }

  #syncProgress() {
    const others = new Set(this.#others())
    for (const id of this.#progress.keys()) if (!others.has(id)) this.#progress.delete(id)
    for (const id of others)
      if (!this.#progress.has(id)) this.#progress.set(id, new Progress(0 as Index, (this.log.lastIndex + 1) as Index))
  }

  #transfer(to: MemberId) {
    if (this.role !== 'leader' || to === this.id || !this.membership.voters.includes(to)) return
    this.#transferTo = to
    this.#quorumTicks = 0
    const progress = this.#progress.get(to)!
    if (progress.matchIndex === this.log.lastIndex) this.#send(to, { type: 'timeout.now' })
    else if (progress.maySend) this.#sendAppend(to, progress, false)
  }

  #read(id: number) {
    // Before its first commit a leader does not know what its predecessors committed (§6.4 step 1).
    if (this.role !== 'leader' || this.log.termAt(this.commitIndex) !== this.term) {
      this.#out.reads.push({ id, index: null })
      return
    }
    this.#reads.add(id, this.commitIndex)
    this.#finishReads()
    for (const [to, progress] of this.#progress) this.#sendHeartbeat(to, progress)
  }

  #finishReads() {
    const isConfirmed = (round: number) =>
      hasQuorum(this.membership, (id) => id === this.id || (this.#progress.get(id)?.round ?? 0) >= round)
    for (const read of this.#reads.take(isConfirmed)) this.#out.reads.push(read)
  }

  #compact(upTo: Index, keep: number) {
    assert(upTo <= this.#handedOut, 'only what is applied can be compacted')
    this.log.compact(Math.max(this.log.baseIndex, upTo - keep) as Index)
  }

  // Sending

  #others(): MemberId[] {
    return membersOf(this.membership).filter((id) => id !== this.id)
  }

  #send(to: MemberId, body: MessageBody, term: Term = this.term) {
    this.#out.messages.push({ ...body, from: this.id, to, term } as Message)
  }

  #broadcast() {
    for (const [id, progress] of this.#progress) if (progress.maySend) this.#sendAppend(id, progress, false)
  }

  /** Entries from `nextIndex` on, as many appends as the window takes; one without entries only if `evenEmpty`. */
  #sendAppend(to: MemberId, progress: Progress, evenEmpty: boolean) {
    let isFirst = true
    while (progress.maySend) {
      const prevIndex = (progress.nextIndex - 1) as Index
      const prevTerm = this.log.termAt(prevIndex)
      if (prevTerm === undefined) {
        this.#send(to, { type: 'snapshot', meta: this.log.base })
        progress.snapshotSent(this.log.baseIndex)
        return
      }
      const entries = this.log.slice(progress.nextIndex, this.log.lastIndex + 1, appendBytesMax)
      if (entries.length === 0 && !(isFirst && evenEmpty)) return
      isFirst = false
      const { commitIndex } = this
      this.#send(to, { type: 'append', prevIndex, prevTerm, entries, commitIndex, round: this.#reads.round })
      if (progress.state === 'probe') {
        progress.isPaused = true
        return
      }
      if (entries.length === 0) return
      const last = entries.at(-1)!.index
      progress.inflight.push(last)
      progress.nextIndex = (last + 1) as Index
    }
  }

  /** An append without entries at a place both surely have: proves that we lead and carries the commit index. */
  #sendHeartbeat(to: MemberId, progress: Progress) {
    const prevIndex = Math.max(progress.matchIndex, this.log.baseIndex) as Index
    // A member still behind our base would refuse this place; the refusal still proves that it hears us.
    this.#send(to, {
      type: 'append',
      prevIndex,
      prevTerm: this.log.termAt(prevIndex)!,
      entries: [],
      commitIndex: Math.min(this.commitIndex, prevIndex) as Index,
      round: this.#reads.round,
    })
  }

  #advanceCommit() {
    const matchOf = (id: MemberId) =>
      id === this.id ? this.#persistedIndex : (this.#progress.get(id)?.matchIndex ?? (0 as Index))
    const index = quorumIndex(this.membership, matchOf)
    // Only entries of our own term are committed by counting (§3.6.2); older ones follow.
    if (index <= this.commitIndex || this.log.termAt(index) !== this.term) return
    this.commitIndex = index
    this.#advanceMembership()
    if (this.role !== 'leader') return
    for (const [id, progress] of this.#progress) {
      if (progress.maySend) this.#sendAppend(id, progress, true)
      else this.#sendHeartbeat(id, progress)
    }
  }

  // Receiving

  #receive(message: Message) {
    if (message.to !== this.id) return
    if (message.type === 'vote') return this.#onVote(message)
    if (message.term > this.term) {
      // A granted pre-vote carries the term we asked about, which nobody has entered yet.
      if (message.type === 'vote.reply' && message.pre && message.granted) return this.#onVoteReply(message)
      const isLeader = message.type === 'append' || message.type === 'snapshot'
      this.#become('follower', message.term, isLeader ? message.from : null)
    } else if (message.term < this.term) {
      // Tells a deposed leader, or one cut off by a partition, that its term is over.
      if (message.type === 'append' || message.type === 'snapshot') this.#refuse(message.from, this.log.lastIndex, 0)
      return
    }
    switch (message.type) {
      case 'vote.reply':
        return this.#onVoteReply(message)
      case 'append':
        return this.#onAppend(message)
      case 'append.reply':
        return this.#onAppendReply(message)
      case 'snapshot':
        return this.#onSnapshot(message)
      case 'timeout.now':
        if (this.role !== 'leader' && this.membership.voters.includes(this.id))
          this.#campaign({ pre: false, transfer: true })
        return
      default:
        unreachable(message)
    }
  }

  #onVote(message: Of<'vote'>) {
    const { from, pre, term } = message
    const hearsLeader =
      this.role === 'leader' || (this.leader !== null && this.#elapsedTicks < this.#options.electionTicks)
    if (hearsLeader && !message.transfer) return // a member that was cut off must not depose a healthy leader (§4.2.3)
    if (term < this.term) return this.#send(from, { type: 'vote.reply', pre, granted: false })
    if (!pre && term > this.term) this.#become('follower', term, null)
    const isUpToDate =
      message.lastTerm > this.log.lastTerm ||
      (message.lastTerm === this.log.lastTerm && message.lastIndex >= this.log.lastIndex)
    const isFree = pre ? term > this.term : this.votedFor === null || this.votedFor === from
    const granted = isUpToDate && isFree
    if (granted && !pre) {
      this.votedFor = from
      this.#resetTimer()
    }
    this.#send(from, { type: 'vote.reply', pre, granted }, granted && pre ? term : this.term)
  }

  #onVoteReply({ from, pre, granted, term }: Of<'vote.reply'>) {
    const isExpected = pre ? this.role === 'pre-candidate' : this.role === 'candidate'
    if (!isExpected || (pre && granted && term !== this.term + 1)) return
    this.#votes.set(from, granted)
    this.#countVotes()
  }

  #follow(leader: MemberId) {
    assert(this.role !== 'leader', 'two leaders in one term')
    if (this.role !== 'follower') this.#become('follower', this.term, leader)
    this.leader = leader
    this.#resetTimer()
  }

  #refuse(to: MemberId, index: Index, hintTerm: number, round = 0) {
    this.#send(to, { type: 'append.reply', ok: false, index, hintTerm: hintTerm as Term, round })
  }

  #onAppend(message: Of<'append'>) {
    const { from, prevIndex, prevTerm, entries, round } = message
    this.#follow(from)
    if (prevIndex < this.log.baseIndex) {
      // Everything up to our base is committed, hence equal: say how far we are.
      this.#send(from, { type: 'append.reply', ok: true, index: this.log.baseIndex, hintTerm: 0 as Term, round })
      return
    }
    if (this.log.termAt(prevIndex) !== prevTerm) {
      const hint = this.log.lastWithTermUpTo(prevTerm, Math.min(prevIndex, this.log.lastIndex) as Index)
      return this.#refuse(from, hint, this.log.termAt(hint) ?? 0, round)
    }
    const fresh = entries.findIndex((entry) => this.log.termAt(entry.index) !== entry.term)
    if (fresh >= 0) {
      const added = entries.slice(fresh)
      const first = added[0]!.index
      assert(first > this.commitIndex, `a leader wants to replace committed entry ${first}`)
      this.log.replaceFrom(added)
      this.#unwrittenFrom = Math.min(this.#unwrittenFrom, first) as Index
      this.#persistedIndex = Math.min(this.#persistedIndex, first - 1) as Index
    }
    const last = (prevIndex + entries.length) as Index
    this.#commitTo(Math.min(message.commitIndex, last) as Index)
    this.#send(from, { type: 'append.reply', ok: true, index: last, hintTerm: 0 as Term, round })
  }

  #commitTo(index: Index) {
    if (index > this.commitIndex) this.commitIndex = index
  }

  #onAppendReply(message: Of<'append.reply'>) {
    const progress = this.#progress.get(message.from)
    if (this.role !== 'leader' || progress === undefined) return
    progress.isActive = true
    progress.round = Math.max(progress.round, message.round)
    this.#finishReads()
    if (message.ok) {
      if (message.index > this.log.lastIndex) return // no member can hold what we never sent
      const isStalled = !progress.maySend && message.index <= progress.matchIndex
      progress.acknowledged(message.index)
      // The window is full and nothing of it arrives: what was under way may be lost, so begin again after the match.
      if (isStalled && progress.state === 'replicate') progress.probeFrom((progress.matchIndex + 1) as Index)
      this.#advanceCommit()
      if (this.role !== 'leader') return
      if (this.#transferTo === message.from && progress.matchIndex === this.log.lastIndex)
        this.#send(message.from, { type: 'timeout.now' })
    } else {
      if (progress.state === 'snapshot' || message.index < progress.matchIndex) return // late, or still installing
      const meet = this.log.lastWithTermUpTo(message.hintTerm, message.index)
      progress.probeFrom((meet + 1) as Index)
    }
    this.#sendAppend(message.from, progress, false)
  }

  #onSnapshot({ from, meta }: Of<'snapshot'>) {
    this.#follow(from)
    const reply = (index: Index) =>
      this.#send(from, { type: 'append.reply', ok: true, index, hintTerm: 0 as Term, round: 0 })
    if (meta.index <= this.commitIndex) return reply(this.commitIndex)
    if (this.log.termAt(meta.index) === meta.term) {
      // We hold all of it and maybe more, which we have acknowledged: dropping that could undo a commit (§7).
      this.#commitTo(meta.index)
      return reply(meta.index)
    }
    this.log.restore(meta)
    this.commitIndex = meta.index
    this.#handedOut = meta.index
    this.#persistedIndex = meta.index
    this.#unwrittenFrom = (meta.index + 1) as Index
    this.#out.snapshot = meta
    reply(meta.index)
  }
}
