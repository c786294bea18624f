// Warm copies of other nodes' tenants: their databases, behind the owner by a moment, so that a takeover lists, seals and
// opens without a restore. A copy owns nothing and proves nothing: opening reaches the end of the history whatever lies
// here. It moves only when its owner says that it shipped, so a resting tenant costs no request; it is removed when disk
// is short, the one that was not told of anything for longest first.

import { statSync } from 'node:fs'
import type { FollowedDatabase } from '../../ipc/messages/standby.ts'
import type { TenantId } from '../../lib/brand.ts'
import type { Cancel, Clock } from '../../lib/clock.ts'
import { errorMessage, OverloadedError } from '../../lib/errors.ts'
import { type FreeBytes, freeBytes } from '../../lib/free-bytes.ts'
import { Lane } from '../../lib/lane.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { Follower } from '../../replicate/follow.ts'
import { findTail, type ReadManifest } from '../../replicate/history.ts'
import type { HistoryLocation } from '../../replicate/ltx-store.ts'
import type { WarmTotals } from '../worker-protocol.ts'
import { locate } from './cut.ts'
import { manifestReader } from './manifest.ts'
import type { TenantPool } from './pool.ts'
import { databaseNames, type TenantFiles } from './tenant-files.ts'

/** Copies that are worked on at once; each may hold as much memory as an opening. */
const atOnceMax = 4
/** Of those that begin with nothing: what one needs of the disk shows only once it is made. */
const beginningsMax = 1
/** Copies that are remembered; beyond it a new one is followed only in the place of one that is idle. */
const copiesMaxDefault = 10_000
/** Without a word for so long it gives its place to another, ms. */
const idleMsMin = 3_600_000
/** Of the disk that is free or taken by copies: what all workers' copies may take together. */
const diskShare = 0.5
/** What must stay free for the node's own tenants, bytes. */
const reserveBytes = 1 << 30
/** Without a word for so long it lists again, ms: merges may have taken the place of slots that it never saw. */
const listAgainMs = 3_600_000
/** After a failure it rests this long before it tries again, ms; doubles up to the most. */
const restMsMin = 1_000
const restMsMax = 300_000
/** Tries without a new hint: the tenant may be gone. */
const triesMax = 8

export interface WarmCopiesDeps {
  readonly pool: Pick<TenantPool, 'whileClosed'>
  readonly files: TenantFiles
  readonly storeOf: (id: TenantId) => ObjectStore
  readonly objectPrefix: string
  readonly clock: Clock
  readonly log: Logger
  /** Of this worker, 0-based. */
  readonly index: number
  /** They share the disk. */
  readonly workers: number
  /** For tests. */
  readonly freeBytesOf?: FreeBytes
  readonly copiesMax?: number
}

interface Copy {
  readonly id: TenantId
  /** Empty while nothing is copied. */
  readonly followers: Map<FollowedDatabase, Follower>
  readonly behind: Set<FollowedDatabase>
  /** Monotonic time since when it knows that it is behind; null: it is not. */
  behindSinceMs: number | null
  toldAtMs: number
  /** Monotonic time of the last work on it. */
  heardAtMs: number
  isBusy: boolean
  bytes: number
  failures: number
  restsUntilMs: number
}

export class WarmCopies {
  readonly #deps: WarmCopiesDeps
  /** By the time of the last hint, oldest first. */
  readonly #copies = new Map<TenantId, Copy>()
  readonly #lane = new Lane(atOnceMax)
  readonly #beginnings = new Lane(beginningsMax)
  readonly #closing = new AbortController()
  readonly #all = new Set<Promise<void>>()
  /** Of copies that failed. */
  readonly #retries = new Map<TenantId, Cancel>()
  /** Told once, until there is a place again. */
  #isRefusing = false

  private constructor(deps: WarmCopiesDeps) {
    this.#deps = deps
  }

  /** Knows again what an earlier process of this worker kept: it takes room, and is followed on with the next hint. */
  static async open(deps: WarmCopiesDeps): Promise<WarmCopies> {
    const { files, copiesMax = copiesMaxDefault } = deps
    const kept = new WarmCopies(deps)
    const found = (await files.list()).filter(({ warmAtMs }) => warmAtMs !== null)
    const ours: TenantId[] = []
    for (const { id } of found.sort((a, b) => a.warmAtMs! - b.warmAtMs!)) if (await kept.#isOurs(id)) ours.push(id)
    for (const id of ours.slice(-copiesMax)) kept.#copyOf(id)!.bytes = bytesOnDisk(files, id)
    return kept
  }

  get totals(): WarmTotals {
    const nowMs = this.#deps.clock.monotonic()
    let [copies, bytes, lagMsMax] = [0, 0, 0]
    for (const copy of this.#copies.values()) {
      if (copy.followers.size > 0) copies++
      bytes += copy.bytes
      if (copy.behindSinceMs !== null) lagMsMax = Math.max(lagMsMax, nowMs - copy.behindSinceMs)
    }
    return { copies, bytes, lagMsMax }
  }

  /** The owner has shipped these. Returns at once. */
  hint(id: TenantId, names: readonly FollowedDatabase[]): void {
    if (this.#closing.signal.aborted) return
    const copy = this.#copyOf(id)
    if (copy === null) return
    const nowMs = this.#deps.clock.monotonic()
    if (!copy.isBusy && nowMs < copy.restsUntilMs) return // it begins with a listing, which finds this too
    copy.toldAtMs = nowMs
    copy.behindSinceMs ??= nowMs
    for (const name of names) copy.behind.add(name)
    if (copy.isBusy) return
    copy.isBusy = true
    const working = this.#follow(copy).finally(() => this.#all.delete(working))
    this.#all.add(working)
  }

  /**
   * Somebody else is about to work on the files, which stay. What is under way here holds the tenant closed, and its lock, until
   * it ends; so whoever has both may call this.
   */
  async forget(id: TenantId): Promise<void> {
    this.#copies.delete(id)
    await this.#deps.files.unmarkWarm(id)
  }

  /** Drops what is known of copies that have gone from the disk, or are somebody else's by now: the evictor has no list of ours. */
  async forgetGone(): Promise<void> {
    for (const copy of [...this.#copies.values()]) {
      const { id, toldAtMs } = copy
      if (copy.isBusy || this.#retries.has(id) || this.#deps.clock.monotonic() < copy.restsUntilMs) continue
      const isGone = !(await this.#isOurs(id))
      if (isGone && !copy.isBusy && copy.toldAtMs === toldAtMs && this.#isCurrent(copy)) this.#copies.delete(id)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new OverloadedError('the node is stopping'))
    for (const cancel of this.#retries.values()) cancel()
    this.#lane.open()
    this.#beginnings.open()
    const followers = [...this.#copies.values()].flatMap((copy) => [...copy.followers.values()])
    await Promise.all(followers.map((follower) => follower[Symbol.asyncDispose]()))
    await Promise.all(this.#all)
  }

  #copyOf(id: TenantId): Copy | null {
    const known = this.#copies.get(id)
    if (known !== undefined) {
      this.#copies.delete(id) // and to the end of the order
      this.#copies.set(id, known)
      return known
    }
    if (!this.#hasPlace()) return null
    const copy: Copy = {
      id,
      followers: new Map(),
      behind: new Set(),
      behindSinceMs: null,
      toldAtMs: 0,
      heardAtMs: 0,
      isBusy: false,
      bytes: 0,
      failures: 0,
      restsUntilMs: 0,
    }
    this.#copies.set(id, copy)
    return copy
  }

  /** Whether one more may be remembered; makes the place where it can. */
  #hasPlace(): boolean {
    const { clock, log, copiesMax = copiesMaxDefault } = this.#deps
    const [oldest] = this.#copies.values()
    const isFull = this.#copies.size >= copiesMax
    const isIdle = oldest !== undefined && !oldest.isBusy && clock.monotonic() - oldest.toldAtMs >= idleMsMin
    const wasRefused = this.#isRefusing
    this.#isRefusing = isFull && !isIdle
    if (this.#isRefusing && !wasRefused) log.warn('no place for more warm copies', { copiesMax })
    if (!isFull || !isIdle) return !isFull
    this.#copies.delete(oldest.id)
    const removing = this.#removeClosed(oldest)
      .catch((error: unknown) =>
        log.warn('warm copy was not removed', { tenant: oldest.id, error: errorMessage(error) }),
      )
      .finally(() => this.#all.delete(removing))
    this.#all.add(removing)
    return true
  }

  /** Never rejects. */
  async #follow(copy: Copy): Promise<void> {
    const { pool, files, clock, log } = this.#deps
    const lane = copy.bytes === 0 ? this.#beginnings : this.#lane
    await lane.enter()
    try {
      while (copy.behind.size > 0 && this.#isCurrent(copy)) {
        const names = [...copy.behind]
        copy.behind.clear()
        copy.behindSinceMs = copy.toldAtMs // what comes while it works counts from its own time
        const done = await pool.whileClosed(copy.id, async () => {
          using lock = files.tryLock(copy.id)
          if (lock === null) return null
          await this.#catchUp(copy, names)
          return true
        })
        if (done === null) {
          this.#copies.delete(copy.id) // it opens or is open on this node: the files are its owner's
          return
        }
        copy.failures = 0
        if (copy.behind.size === 0) copy.behindSinceMs = null
      }
    } catch (error) {
      if (this.#closing.signal.aborted) return
      copy.followers.clear()
      const restMs = Math.min(restMsMax, restMsMin * 2 ** copy.failures)
      copy.restsUntilMs = clock.monotonic() + restMs
      if (copy.failures < triesMax) this.#tryAgain(copy, restMs)
      if (copy.failures++ === 0) log.warn('warm copy failed', { tenant: copy.id, error: errorMessage(error) })
    } finally {
      copy.isBusy = false
      lane.leave()
    }
  }

  #tryAgain(copy: Copy, delayMs: number): void {
    this.#retries.get(copy.id)?.()
    const cancel = this.#deps.clock.setTimer(delayMs, () => {
      this.#retries.delete(copy.id)
      copy.restsUntilMs = 0
      if (this.#isCurrent(copy)) this.hint(copy.id, databaseNames)
    })
    this.#retries.set(copy.id, cancel)
  }

  #isCurrent(copy: Copy): boolean {
    return this.#copies.get(copy.id) === copy && !this.#closing.signal.aborted
  }

  async #catchUp(copy: Copy, names: readonly FollowedDatabase[]): Promise<void> {
    const { files, clock, index } = this.#deps
    // From an earlier time as its owner: they may hold commits that nobody else has, and opening decides about those.
    if (files.mayHoldMore(copy.id)) {
      copy.followers.clear()
      return
    }
    const nowMs = clock.monotonic()
    // Or another worker had the tenant since: it may be further, and what its owner left in a WAL must not stay.
    if (nowMs - copy.heardAtMs > listAgainMs || !(await this.#isOurs(copy.id))) copy.followers.clear()
    copy.heardAtMs = nowMs
    if (copy.followers.size === 0 && !(await this.#hasRoomFor(copy))) return
    await files.markWarm(copy.id, index)
    if (copy.followers.size === 0) await this.#begin(copy)
    else for (const name of names) await copy.followers.get(name)?.catchUp()
    copy.bytes = bytesOf(copy.followers.values())
    if (!(await this.#makeRoom(copy, 0))) await this.#remove(copy)
    else if (!files.isClean(copy.id)) await files.markClean(copy.id) // all of it is in the store
  }

  /** Whether the folder is a copy that this worker keeps, and nobody else has worked on it since. */
  async #isOurs(id: TenantId): Promise<boolean> {
    const { files, index, workers } = this.#deps
    const worker = await files.warmWorker(id)
    return worker !== null && worker % workers === index
  }

  async #begin(copy: Copy): Promise<void> {
    const { files, clock, log } = this.#deps
    const { signal } = this.#closing
    for (const name of databaseNames) {
      const follower = await Follower.open(this.#locate(copy.id, name), files.path(copy.id, name), {
        clock,
        log,
        signal,
        manifest: this.#manifestReader(copy.id, name),
      })
      copy.followers.set(name, follower)
    }
  }

  /** Reckons with what the newest state takes, beside what is here of it. */
  async #hasRoomFor(copy: Copy): Promise<boolean> {
    const { files, log, clock } = this.#deps
    copy.bytes = bytesOnDisk(files, copy.id)
    const tailOf = async (name: FollowedDatabase) => {
      const hints = { manifest: this.#manifestReader(copy.id, name) }
      return (await findTail(this.#locate(copy.id, name), this.#closing.signal, hints)).last.header
    }
    const headers = await Promise.all(databaseNames.map(tailOf))
    const neededBytes = headers.reduce((sum, { commit, pageSize }) => sum + commit * pageSize, 0)
    if (await this.#makeRoom(copy, Math.max(0, neededBytes - copy.bytes))) return true
    copy.restsUntilMs = clock.monotonic() + restMsMax
    log.warn('no room for a warm copy', { tenant: copy.id, neededBytes })
    return false
  }

  #locate(tenantId: TenantId, name: FollowedDatabase): HistoryLocation {
    const { storeOf, objectPrefix } = this.#deps
    return locate({ store: storeOf(tenantId), objectPrefix, tenantId }, name)
  }

  #manifestReader(id: TenantId, name: FollowedDatabase): ReadManifest {
    const { storeOf, objectPrefix } = this.#deps
    return manifestReader({ store: storeOf(id), objectPrefix }, id, name)
  }

  /** Removes copies that were not told of anything for longest. @returns whether `neededBytes` more fit now. */
  async #makeRoom(copy: Copy, neededBytes: number): Promise<boolean> {
    const { files, workers, freeBytesOf = freeBytes } = this.#deps
    const fits = async () => {
      const { bytes } = this.totals
      const free = await freeBytesOf(files.root)
      const mostBytes = ((free + bytes) * diskShare) / workers
      return bytes + neededBytes <= mostBytes && free - neededBytes >= reserveBytes
    }
    for (const oldest of [...this.#copies.values()]) {
      if (oldest === copy || oldest.bytes === 0 || oldest.isBusy) continue
      if (await fits()) return true
      await this.#removeClosed(oldest)
    }
    return fits()
  }

  async #removeClosed(copy: Copy): Promise<void> {
    const { pool, files } = this.#deps
    const removed = await pool.whileClosed(copy.id, async () => {
      using lock = files.tryLock(copy.id)
      const isKeptAnew = this.#copies.has(copy.id) && !this.#isCurrent(copy)
      if (lock === null || isKeptAnew || !(await this.#isOurs(copy.id))) return null
      await this.#remove(copy)
      return true
    })
    if (removed === null && this.#isCurrent(copy)) this.#copies.delete(copy.id)
  }

  async #remove(copy: Copy): Promise<void> {
    const { files, clock, log } = this.#deps
    copy.followers.clear()
    copy.bytes = 0
    copy.restsUntilMs = clock.monotonic() + restMsMax
    if (files.mayHoldMore(copy.id)) return // it was opened here meanwhile
    await files.remove(copy.id)
    log.info('warm copy removed for want of room', { tenant: copy.id })
  }
}

function bytesOf(followers: Iterable<Follower>): number {
  let bytes = 0
  for (const { position } of followers) bytes += position.header.commit * position.header.pageSize
  return bytes
}

function bytesOnDisk(files: TenantFiles, id: TenantId): number {
  let bytes = 0
  for (const name of databaseNames) bytes += statSync(files.path(id, name), { throwIfNoEntry: false })?.size ?? 0
  return bytes
}
