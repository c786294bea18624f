// What a supervisor and its workers say to each other: one JSON object a line, over the worker's standard input and
// output. Both ends are this program, but a worker that went mad must not take its supervisor along, so lines are bounded
// and checked.

import type { NodeLoad, NodeOrder, NodeReplies, OrderReplies } from '../ipc/messages/cp-node.ts'
import type { FollowedDatabase } from '../ipc/messages/standby.ts'
import type { Epoch, TenantId } from '../lib/brand.ts'
import { errorCode, errorMessage, type WireError } from '../lib/errors.ts'
import { parseBoundedLines } from '../lib/lines.ts'
import { addReadings, type MeterReading, noReading } from '../lib/object-store/metered.ts'
import { noUpkeep, type UpkeepTotals } from '../replicate/upkeep-process.ts'
import type { TenantUse } from './busy-tenants.ts'

/** Orders that a worker carries out; the supervisor itself answers the others. */
export type WorkerOrder =
  | Exclude<NodeOrder, { readonly type: 'node.drain' | 'orphan.list' | 'orphan.read' | 'orphan.remove' }>
  | YieldOrder

/**
 * Close the tenant, so that another worker of this node can have it. Between the close and the answer the worker asks
 * `tenant.yielded`, while requests wait; behind that they are told that the tenant is elsewhere.
 */
export interface YieldOrder {
  readonly type: 'tenant.yield'
  readonly tenantId: TenantId
}

export type WorkerReplies = OrderReplies & {
  /** False: nobody wants it any more, it opens here again. */
  readonly 'tenant.yield': { readonly yielded: boolean }
}

/** What a worker asks the control plane through its supervisor, which keeps the one connection and the cache. */
export type WorkerQuestion =
  | { readonly type: 'placement.get'; readonly tenantId: TenantId }
  | { readonly type: 'replica.moved'; readonly tenantId: TenantId; readonly epoch: Epoch }
  | { readonly type: 'placement.fenced'; readonly tenantId: TenantId; readonly epoch: Epoch; readonly seenEpoch: Epoch }
  | { readonly type: 'placement.sealed'; readonly tenantId: TenantId; readonly epoch: Epoch }
  /** The tenant is closed here, as ordered. The answer comes once gateways can learn where it is now. */
  | { readonly type: 'tenant.yielded'; readonly tenantId: TenantId }

/** What workers are answered: by the control plane, or by the supervisor itself. */
export type AnswersToWorker = NodeReplies & { readonly 'tenant.yielded': { readonly yielded: boolean } }

/** Reachability of the control plane and the lease that it gave. */
export interface LinkState {
  /**
   * When the lease ends, by the clock of the worker, ms: reckoned from what its clock showed when it asked, so that no delay
   * between the two makes it longer. Null: there is none.
   */
  readonly leaseEndsAtMs: number | null
}

export type ToWorker =
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'order'; readonly id: number; readonly order: WorkerOrder }
  | { readonly type: 'answer'; readonly id: number; readonly outcome: Outcome<AnswersToWorker[WorkerQuestion['type']]> }
  | ({ readonly type: 'link' } & LinkState)
  /** The warm copies of another node's tenant are behind. */
  | { readonly type: 'follow'; readonly tenantId: TenantId; readonly databases: readonly FollowedDatabase[] }
  /** Stop accepting, finish what is under way, ship every tail, close, exit 0. */
  | { readonly type: 'stop' }

export type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: WireError }

/** How work ended, as the other end hears of it; never rejects. */
export async function outcomeOf<T>(work: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await work() }
  } catch (error) {
    return { ok: false, error: { code: errorCode(error) ?? 'internal', message: errorMessage(error) } }
  }
}

/** Figures of one worker; counters since its start. */
export interface WorkerLoad {
  readonly tenantsOpen: number
  /** CPU time used by the process, ms. */
  readonly cpuMs: number
  /** What its thread ran or wanted to run, ms; where the system does not tell, what the process ran. */
  readonly threadMs: number
  readonly memoryBytes: number
  readonly requests: number
  readonly evictions: number
  readonly replicationLagMsMax: number
  /** What its tenants asked of the object store. */
  readonly store: MeterReading
  /** Merges and deletions in histories. */
  readonly upkeep: UpkeepTotals
  readonly warm: WarmTotals
  /** Of the open tenants, those that used most of the thread lately. */
  readonly tenants: readonly TenantUse[]
}

/** Copies of other nodes' tenants that are kept warm. */
export interface WarmTotals {
  readonly copies: number
  readonly bytes: number
  /** How long the one that waits longest has known that it is behind, ms; 0: none is. */
  readonly lagMsMax: number
}

export const noWarm: WarmTotals = { copies: 0, bytes: 0, lagMsMax: 0 }

export type FromWorker =
  | { readonly type: 'ready'; readonly url: string }
  /** `atMs`: the worker's monotonic clock; the supervisor answers with the link as of then. */
  | { readonly type: 'pong'; readonly id: number; readonly load: WorkerLoad; readonly atMs: number }
  | { readonly type: 'reply'; readonly id: number; readonly outcome: Outcome<unknown> }
  /** How long an opening took, and whether files had to come from the object store. */
  | { readonly type: 'opened'; readonly ms: number; readonly isRestored: boolean }
  | { readonly type: 'ask'; readonly id: number; readonly question: WorkerQuestion }

/** Longest line, bytes: an order with a hundred domains is far below. */
export const lineBytesMax = 256 * 1024

export function encodeLine(message: ToWorker | FromWorker): string {
  return `${JSON.stringify(message)}\n`
}

/** null for a line that is no message; the receiver logs it and goes on. */
export function decodeLine<Message extends { readonly type: string }>(
  line: string,
  types: readonly Message['type'][],
): Message | null {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return null // whatever it is, nobody who follows the protocol wrote it
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) return null
  // Both ends are the same program of the same version: past the tag, the types are the contract.
  return (types as readonly unknown[]).includes(value.type) ? (value as Message) : null
}

export const fromWorkerTypes = [
  'ready',
  'pong',
  'reply',
  'opened',
  'ask',
] as const satisfies readonly FromWorker['type'][]
export const toWorkerTypes = [
  'ping',
  'order',
  'answer',
  'link',
  'follow',
  'stop',
] as const satisfies readonly ToWorker['type'][]

/** Calls `onLine` for each line of a stream; resolves at its end or at a line beyond the bound. */
export function readLines(input: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<void> {
  return parseBoundedLines(input, lineBytesMax, onLine)
}

/** Adds what the workers report; rates need two reports and the time between them. */
export function totalLoad(loads: readonly WorkerLoad[]): Pick<
  NodeLoad,
  'tenantsOpen' | 'memoryBytes' | 'replicationLagMsMax'
> & {
  readonly cpuMs: number
  readonly requests: number
  readonly evictions: number
  readonly store: MeterReading
  readonly upkeep: UpkeepTotals
  readonly warm: WarmTotals
} {
  const total = {
    tenantsOpen: 0,
    memoryBytes: 0,
    replicationLagMsMax: 0,
    cpuMs: 0,
    requests: 0,
    evictions: 0,
    store: noReading,
    upkeep: noUpkeep,
    warm: noWarm,
  }
  for (const load of loads) {
    total.tenantsOpen += load.tenantsOpen
    total.memoryBytes += load.memoryBytes
    total.replicationLagMsMax = Math.max(total.replicationLagMsMax, load.replicationLagMsMax)
    total.cpuMs += load.cpuMs
    total.requests += load.requests
    total.evictions += load.evictions
    total.store = addReadings(total.store, load.store)
    total.upkeep = {
      merges: total.upkeep.merges + load.upkeep.merges,
      filesDeleted: total.upkeep.filesDeleted + load.upkeep.filesDeleted,
      bytesDeleted: total.upkeep.bytesDeleted + load.upkeep.bytesDeleted,
      failures: total.upkeep.failures + load.upkeep.failures,
    }
    total.warm = {
      copies: total.warm.copies + load.warm.copies,
      bytes: total.warm.bytes + load.warm.bytes,
      lagMsMax: Math.max(total.warm.lagMsMax, load.warm.lagMsMax),
    }
  }
  return total
}
