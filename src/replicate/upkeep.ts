// Keeps one open history short: knows its files as they are shipped, sees when a merge or a retention pass is due, has it
// done elsewhere, and gives the manifest. It asks the store for nothing while nothing is shipped, and holds no timer.

import { assert } from '../lib/assert.ts'
import type { Txid } from '../lib/brand.ts'
import type { Clock } from '../lib/clock.ts'
import { errorMessage } from '../lib/errors.ts'
import type { Logger } from '../lib/obs/log.ts'
import { type MergeJob, mergeFactor, planMerge, withFile } from './compaction.ts'
import type { HistoryPosition } from './history.ts'
import {
  checksumText,
  type HistoryManifest,
  type ManifestFile,
  manifestFilesMax,
  type ShippedFile,
} from './history-manifest.ts'
import { type HistoryLocation, type LtxFile, listLtx, listNewest } from './ltx-store.ts'
import { planRestore } from './restore-plan.ts'
import { nextPassAtMs, type RetentionOutcome, type RetentionState } from './retention-pass.ts'

/** Does the work of histories where it holds up nobody; one piece at a time, slowly. Rejects with what went wrong. */
export interface UpkeepRunner {
  merge(prefix: string, job: MergeJob): Promise<ManifestFile>
  retain(prefix: string, state: RetentionState): Promise<RetentionOutcome>
}

export interface UpkeepDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly runner: UpkeepRunner
  /** Called when the manifest should be written: a merge or a deletion changed what a restore reads. */
  readonly onChange: () => void
}

/** Slots that must come before work that failed is tried again. */
const slotsAfterFailure = mergeFactor

export class HistoryUpkeep {
  readonly #at: HistoryLocation
  readonly #deps: UpkeepDeps
  readonly #epoch: number
  readonly #pageSize: number
  /** Names of files that nothing here may count on. */
  readonly #damaged: ReadonlySet<string>
  #commit: number
  /** The newest plan up to the tail; null while it is not known. */
  #files: readonly ManifestFile[] | null
  #tail: HistoryManifest['tail']
  #state: RetentionState & Pick<RetentionOutcome, 'retained'>
  #working: Promise<void> | null = null
  #quietUntil = 0
  #isClosed = false

  /** @param previous what the manifest said at the opening; null when there was none. */
  constructor(opened: HistoryPosition, previous: HistoryManifest | null, deps: UpkeepDeps) {
    this.#at = opened.at
    this.#deps = deps
    this.#epoch = opened.writer.epoch
    this.#pageSize = opened.pageSize
    this.#commit = opened.commit
    this.#damaged = new Set(opened.damaged.map(nameOf))
    const { txid, timestampMs } = opened
    const checksum = checksumText(opened.checksum)
    this.#tail = { txid, timestampMs, checksum }
    const last = { level: 0, minTxid: txid, maxTxid: txid, sizeBytes: opened.tailSizeBytes, timestampMs, checksum }
    this.#files = this.#planOf([...opened.known, last], [...(previous?.files ?? []), last])
    const { candidates = null, restoreMsMax = 0 } = previous ?? {}
    // Kept from one opening to the next: the first pass must not move away with each of them.
    const retained = previous?.retained ?? { txid, atMs: deps.clock.now(), isSettled: false }
    this.#state = { candidates, retained, restoreMsMax }
  }

  /** What to write into the manifest; null when the files are not known, which the next merge mends. */
  get manifest(): HistoryManifest | null {
    if (this.#files === null || this.#files.length > manifestFilesMax) return null
    return {
      epoch: this.#epoch,
      tail: this.#tail,
      pageSize: this.#pageSize,
      commit: this.#commit,
      files: this.#files,
      ...this.#state,
    }
  }

  /** When a retention pass is due next, ms since the Unix epoch; null for never. */
  get nextPassAtMs(): number | null {
    return nextPassAtMs(this.#state, this.#tail.txid)
  }

  /** A slot was shipped; `commit` is the size of the database after it, in pages. */
  shipped(file: ShippedFile, commit: number): void {
    this.#tail = { txid: file.maxTxid, timestampMs: file.timestampMs, checksum: file.checksum }
    this.#commit = commit
    this.#files = this.#files && [...this.#files, file]
    this.work()
  }

  /** Starts what is due, if nothing is under way. */
  work(): void {
    if (this.#isClosed || this.#working !== null || this.#tail.txid < this.#quietUntil || !this.#isDue()) return
    this.#working = this.#work().finally(() => {
      this.#working = null
    })
  }

  /** How long a restore of this history took: deletions leave others twice that time. */
  restoreTook(durationMs: number): void {
    this.#state = { ...this.#state, restoreMsMax: Math.max(this.#state.restoreMsMax, Math.ceil(durationMs)) }
  }

  /** Starts nothing more. What is under way elsewhere ends by itself; a merge needs no owner. */
  close(): void {
    this.#isClosed = true
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#working !== null) await this.#working
  }

  #isDue(): boolean {
    if (this.#files === null) return this.#tail.txid % mergeFactor === 0
    const passAtMs = this.nextPassAtMs
    const nowMs = this.#deps.clock.now()
    return (passAtMs !== null && passAtMs <= nowMs) || planMerge(this.#files, nowMs) !== null
  }

  async #work(): Promise<void> {
    const { clock, log } = this.#deps
    try {
      this.#files ??= this.#planOf(await listNewest(this.#at)) ?? this.#planOf(await listLtx(this.#at))
      while (!this.#isClosed && this.#files !== null) {
        const job = planMerge(this.#files, clock.now())
        if (job !== null) await this.#merge(job)
        else if (this.#isPassDue()) await this.#retain()
        else return
        this.#deps.onChange()
      }
    } catch (error) {
      // Nobody waits for it: it only keeps restores short and the store small.
      this.#quietUntil = this.#tail.txid + slotsAfterFailure
      this.#files = null // it may be that files are gone which this still names
      log.warn('upkeep of a history failed', { prefix: this.#at.prefix, error: errorMessage(error) })
    }
  }

  #planOf(seen: Parameters<typeof newestPlan>[0], known: readonly ManifestFile[] = []): readonly ManifestFile[] | null {
    const sound = seen.filter((file) => !this.#damaged.has(nameOf(file)))
    return newestPlan(sound, known, this.#tail.txid)
  }

  #isPassDue(): boolean {
    const atMs = this.nextPassAtMs
    return atMs !== null && atMs <= this.#deps.clock.now()
  }

  async #merge(job: MergeJob): Promise<void> {
    const merged = await this.#deps.runner.merge(this.#at.prefix, job)
    if (this.#files !== null) {
      const next = withFile(this.#files, merged)
      // Or the same merge would be due again, for ever.
      assert(next.length < this.#files.length, `${this.#at.prefix}: a merge made nothing shorter`)
      this.#files = next
    }
    this.#deps.log.debug('files merged', { prefix: this.#at.prefix, level: job.level, files: job.inputs.length })
  }

  async #retain(): Promise<void> {
    const { candidates, retained, filesDeleted, bytesDeleted, damaged } = await this.#deps.runner.retain(
      this.#at.prefix,
      this.#state,
    )
    this.#state = { ...this.#state, candidates, retained }
    if (damaged.length > 0)
      this.#deps.log.error('merged files are damaged, what they were made of stays', {
        prefix: this.#at.prefix,
        damaged,
      })
    if (filesDeleted > 0) this.#deps.log.info('files deleted', { prefix: this.#at.prefix, filesDeleted, bytesDeleted })
  }
}

/** The manifest of a history that has just begun. */
export function firstManifest(created: HistoryPosition): HistoryManifest {
  const { txid, timestampMs, pageSize, commit, writer, tailSizeBytes } = created
  assert(txid === 1, 'a history begins with TXID 1')
  const checksum = checksumText(created.checksum)
  return {
    epoch: writer.epoch,
    tail: { txid, timestampMs, checksum },
    pageSize,
    commit,
    files: [{ level: 0, minTxid: txid, maxTxid: txid, sizeBytes: tailSizeBytes, timestampMs, checksum }],
    candidates: null,
    retained: { txid, atMs: timestampMs, isSettled: false },
    restoreMsMax: 0,
  }
}

/**
 * The plan for the tail out of files that were seen, with what is known better of them; null when they do not reach it. A
 * name alone makes no file: a manifest may be another history's, on a store where each epoch has a path of its own.
 */
function newestPlan(
  seen: readonly Pick<LtxFile, 'level' | 'minTxid' | 'maxTxid' | 'sizeBytes'>[],
  known: readonly ManifestFile[],
  tail: Txid,
): readonly ManifestFile[] | null {
  const better = new Map(known.map((file) => [nameOf(file), file]))
  const files = seen.map(({ level, minTxid, maxTxid, sizeBytes }): ManifestFile => {
    const found = better.get(nameOf({ level, minTxid, maxTxid }))
    if (found !== undefined && found.sizeBytes === sizeBytes) return found
    return { level, minTxid, maxTxid, sizeBytes, timestampMs: null, checksum: null }
  })
  const plan = planRestore(files, null)
  return plan.ok && plan.value.txid === tail ? plan.value.files : null
}

function nameOf({ level, minTxid, maxTxid }: Pick<ManifestFile, 'level' | 'minTxid' | 'maxTxid'>): string {
  return `${level} ${minTxid} ${maxTxid}`
}
