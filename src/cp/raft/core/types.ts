// The vocabulary of the Raft core. Plain data: what a driver stores, sends and feeds back.

import type { Brand } from '../../../lib/brand.ts'

export type MemberId = Brand<string, 'MemberId'>
/** From 1; 0 is "none yet". */
export type Term = Brand<number, 'Term'>
/** From 1; 0 is the place before the first entry. */
export type Index = Brand<number, 'Index'>

/**
 * Who votes. During a change `outgoing` holds the voters that were: decisions then need a majority of both (joint
 * consensus, Ongaro 2014 §4.3).
 */
export interface Membership {
  readonly voters: readonly MemberId[]
  readonly outgoing: readonly MemberId[]
  /** Get entries, do not count. */
  readonly learners: readonly MemberId[]
}

export type EntryPayload =
  | { readonly type: 'command'; readonly data: Uint8Array }
  /** What a new leader appends, to be able to commit in its own term. */
  | { readonly type: 'noop' }
  | { readonly type: 'membership'; readonly membership: Membership }

export interface Entry {
  readonly index: Index
  readonly term: Term
  readonly payload: EntryPayload
}

/** Must be durable before any message that depends on it is sent. */
export interface HardState {
  readonly term: Term
  readonly votedFor: MemberId | null
}

/** Stands for everything up to `index`; the state itself is the driver's matter. */
export interface SnapshotMeta {
  readonly index: Index
  readonly term: Term
  readonly membership: Membership
}

interface Envelope {
  readonly from: MemberId
  readonly to: MemberId
  readonly term: Term
}

export type Message = Envelope &
  (
    | {
        readonly type: 'vote'
        /** A pre-vote asks whether a vote would be given, and changes nothing (§9.6). */
        readonly pre: boolean
        readonly lastIndex: Index
        readonly lastTerm: Term
        /** The leader itself asked for this election, so its followers may vote at once. */
        readonly transfer: boolean
      }
    | { readonly type: 'vote.reply'; readonly pre: boolean; readonly granted: boolean }
    | {
        readonly type: 'append'
        readonly prevIndex: Index
        readonly prevTerm: Term
        readonly entries: readonly Entry[]
        readonly commitIndex: Index
        /** Newest read-index round; the reply repeats it. */
        readonly round: number
      }
    | {
        readonly type: 'append.reply'
        readonly ok: boolean
        /** ok: the last index that equals the leader's. Refused: where the leader should try next. */
        readonly index: Index
        /** Refused: the term at `index` here, 0 for none, so that whole terms are skipped at once. */
        readonly hintTerm: Term
        readonly round: number
      }
    /** The log no longer reaches back far enough; the driver sends the state along. */
    | { readonly type: 'snapshot'; readonly meta: SnapshotMeta }
    | { readonly type: 'timeout.now' }
  )

export type Input =
  | { readonly type: 'tick' }
  /** `id` comes back in `Ready.proposed` or `Ready.refused`. */
  | { readonly type: 'propose'; readonly id: number; readonly data: Uint8Array }
  | { readonly type: 'message'; readonly message: Message }
  /** Everything up to `upTo` is on disk; `term` is the term of that entry: it may have been replaced since. */
  | { readonly type: 'persisted'; readonly upTo: Index; readonly term: Term }
  /** A linearizable read: `id` comes back in `Ready.reads` once `index` is known. */
  | { readonly type: 'read'; readonly id: number }
  | { readonly type: 'change.membership'; readonly voters: readonly MemberId[]; readonly learners: readonly MemberId[] }
  | { readonly type: 'transfer'; readonly to: MemberId }
  /** The driver has a durable snapshot of the state at `index`: older entries may go. */
  | { readonly type: 'compact'; readonly upTo: Index; readonly keep: number }

/** What the driver must do next. The order of the fields is the order of the work. */
export interface Ready {
  /** 1. Write. */
  readonly hardState: HardState | null
  /** 2. Replace log and state by this snapshot, which came with the message of the same meta. */
  readonly snapshot: SnapshotMeta | null
  /** 3. Write, replacing stored entries from entries[0].index on; then fsync. */
  readonly entries: readonly Entry[]
  /** 4. Send, only once the above is durable. */
  readonly messages: readonly Message[]
  /** 5. Apply, in index order. */
  readonly committed: readonly Entry[]
  /** Proposals that got a place in the log; the place may still be lost to another leader. */
  readonly proposed: readonly { readonly id: number; readonly index: Index; readonly term: Term }[]
  readonly refused: readonly { readonly id: number; readonly leader: MemberId | null }[]
  /** Reads that may be answered once `index` is applied; null: ask the leader. */
  readonly reads: readonly { readonly id: number; readonly index: Index | null }[]
}
