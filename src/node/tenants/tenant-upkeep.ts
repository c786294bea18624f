// Looks after the histories of one open tenant and writes its manifest: when it closes, and when merges or deletions have
// changed what a restore reads, but not per commit. No timer, and no request while nothing is written.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import type { Epoch, Txid } from '../../lib/brand.ts'
import type { Clock } from '../../lib/clock.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { Logger } from '../../lib/obs/log.ts'
import { closingImage, putClosingImage, wantsClosingImage } from '../../replicate/closing-image.ts'
import type { OpenedHistory } from '../../replicate/history.ts'
import type { ShippedFile } from '../../replicate/history-manifest.ts'
import { defaultRetention } from '../../replicate/retention.ts'
import type { RetentionOutcome, RetentionState } from '../../replicate/retention-pass.ts'
import { HistoryUpkeep, type UpkeepRunner } from '../../replicate/upkeep.ts'
import type { Engine } from '../engine/engine.ts'
import { sweepDeletedFiles } from '../engine/files/deleted-files.ts'
import { noteAbandonedFiles } from './abandoned-files.ts'
import { locate } from './cut.ts'
import { type TenantFacts, writeManifest } from './manifest.ts'
import { type DatabaseName, databaseNames } from './tenant-files.ts'

/** Between two manifests of a tenant that stays open, ms: each is a PUT, and a missed one only costs a listing. */
const writePauseMs = 60_000
/** Between two looks for uploads that no record names, and their least age, ms: above all that retention promises. */
const filesListedEveryMs = defaultRetention.hourlyMs + 24 * 3_600_000

export interface UpkeepDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly store: ObjectStore
  readonly objectPrefix: string
  readonly upkeep: UpkeepRunner
}

export class TenantUpkeep {
  readonly #deps: UpkeepDeps
  readonly #histories = new Map<DatabaseName, HistoryUpkeep>()
  #spec: TenantSpec
  #facts: TenantFacts
  #isDirty = true
  #isClosed = false
  #writtenAtMs: number
  #writing: Promise<void> = Promise.resolve()
  #sweeping: Promise<void> = Promise.resolve()
  readonly #restored: readonly DatabaseName[]
  readonly #epoch: Epoch

  /** @param facts what the manifest says, and what this opening has made so. */
  constructor(
    spec: TenantSpec,
    histories: Readonly<Record<DatabaseName, OpenedHistory>>,
    facts: TenantFacts,
    deps: UpkeepDeps,
  ) {
    this.#spec = spec
    this.#facts = { ...facts, hooks: hooksAt(facts, histories['hooks.db']) }
    this.#deps = deps
    this.#epoch = histories['data.db'].writer.epoch as Epoch
    this.#restored = databaseNames.filter((name) => histories[name].origin === 'restored')
    this.#writtenAtMs = deps.clock.monotonic()
    for (const name of databaseNames) {
      const history = new HistoryUpkeep(histories[name], this.#facts.databases[name] ?? null, {
        clock: deps.clock,
        log: deps.log.with({ tenant: spec.id }),
        runner: { merge: deps.upkeep.merge.bind(deps.upkeep), retain: (prefix, state) => this.#retain(prefix, state) },
        onChange: () => this.#changed(),
      })
      this.#histories.set(name, history)
    }
  }

  /** For the shipper of a database: what it calls after each slot. */
  shipped(name: DatabaseName): (file: ShippedFile, commit: number) => void {
    const history = this.#histories.get(name)
    return (file, commit) => {
      this.#isDirty = true
      history?.shipped(file, commit)
    }
  }

  /** The opening took so long, where it had to restore: deletions leave others twice that time. */
  openingTook(durationMs: number): void {
    for (const name of this.#restored) this.#histories.get(name)!.restoreTook(durationMs)
  }

  /** The tenant is open: starts what time alone has made due. */
  start(engine: Engine): void {
    for (const history of this.#histories.values()) history.work()
    this.#sweeping = this.#sweep(engine).catch((error: unknown) =>
      this.#deps.log.warn('deleted files were not removed', { tenant: this.#spec.id, error: errorMessage(error) }),
    )
  }

  /** Before the databases close: starts nothing more, and waits for what needs them. */
  async stop(): Promise<void> {
    this.abandon()
    await this.#sweeping
  }

  /** Another identity. Written at once: `tenant adopt` reads it. */
  async identify(spec: TenantSpec): Promise<void> {
    this.#spec = spec
    await this.#write(this.#facts.nextCronAtMs)
  }

  /** Facts that others know: a copied file tree ends a lineage, a hook was enabled. */
  learn(facts: Partial<Pick<TenantFacts, 'hooks' | 'lineage'>>): void {
    this.#facts = { ...this.#facts, ...facts }
    this.#isDirty = true
  }

  /**
   * After everything was shipped: writes the manifest if it has changed. Never rejects; a missing manifest only costs.
   *
   * @param closing.nextCronAtMs when the closed tenant must be opened for a cron job; null for never.
   * @param closing.pathOf where a database lies that is closed and all in the store; null when the closing was not that clean.
   * @param closing.settledTxid the end of `data.db` when all of that is in the store; null when it is not.
   * @returns when a retention pass of the closed tenant is due, ms since the Unix epoch; null for never.
   */
  async close({
    nextCronAtMs,
    pathOf,
    settledTxid,
  }: {
    readonly nextCronAtMs: number | null
    readonly pathOf: ((name: DatabaseName) => string) | null
    readonly settledTxid: Txid | null
  }): Promise<number | null> {
    this.abandon()
    const failed = (what: string) => (error: unknown) =>
      this.#deps.log.warn(what, { tenant: this.#spec.id, error: errorMessage(error) })
    const images = this.#isDirty && pathOf !== null ? this.#putImages(pathOf).catch(failed('image was not made')) : null
    const isSettled = this.#settle(settledTxid)
    if (this.#isDirty || isSettled || nextCronAtMs !== this.#facts.nextCronAtMs)
      await this.#write(nextCronAtMs).catch(failed('manifest was not written'))
    await images
    const due = [...this.#histories.values()].flatMap(({ nextPassAtMs }) => nextPassAtMs ?? [])
    return due.length === 0 ? null : Math.min(...due)
  }

  /** The tenant is another owner's now: starts nothing and writes nothing more. */
  abandon(): void {
    this.#isClosed = true
    for (const history of this.#histories.values()) history.close()
  }

  /** Whether there is news for whoever adopts the tenant: nothing of it is with standbys alone. */
  #settle(txid: Txid | null): boolean {
    const { standbys } = this.#facts
    if (standbys === null || standbys.recordEpoch === null || txid === null) return false
    this.#facts = { ...this.#facts, standbys: { ...standbys, settled: { txid, epoch: this.#epoch } } }
    return true
  }

  /** Beside the manifest, which need not name them: a listing finds them. */
  async #putImages(pathOf: (name: DatabaseName) => string): Promise<void> {
    const { store, objectPrefix } = this.#deps
    const images: (() => Promise<void>)[] = []
    for (const [name, { manifest }] of this.#histories) {
      if (manifest === null || !wantsClosingImage(manifest)) continue
      const image = closingImage(manifest, pathOf(name))
      if (image === null) continue
      const at = locate({ store, objectPrefix, tenantId: this.#spec.id }, name)
      images.push(() => putClosingImage(at, image))
    }
    await Promise.all(images.map((put) => put()))
  }

  /** With what holds for this tenant now. */
  #retain(prefix: string, state: RetentionState): Promise<RetentionOutcome> {
    const { keepEveryMs } = this.#spec
    return this.#deps.upkeep.retain(prefix, keepEveryMs === undefined ? state : { ...state, keepEveryMs })
  }

  /** Files that were deleted so long ago that no promised point wants them back. */
  async #sweep(engine: Engine): Promise<void> {
    const cutoffMs = this.#deps.clock.now() - defaultRetention.hourlyMs
    // The fleet's, also while the settings name another bucket.
    const files = engine.files.base
    for (let isDone = !files.keepsDeleted; !isDone && !this.#isClosed; ) {
      const swept = await sweepDeletedFiles(engine.data, files, cutoffMs, () => this.#isClosed)
      isDone = swept.isDone
      if (swept.deleted > 0)
        this.#deps.log.info('deleted files removed', { tenant: this.#spec.id, count: swept.deleted })
    }
    await this.#lookForAbandoned(engine)
  }

  /** Once a month: a listing. */
  async #lookForAbandoned(engine: Engine): Promise<void> {
    const { clock, log } = this.#deps
    const { id, createdAtMs } = this.#spec
    const nowMs = clock.now()
    const isDue = nowMs - (this.#facts.filesListedAtMs ?? createdAtMs) >= filesListedEveryMs
    if (!engine.files.keepsDeleted || !isDue || this.#isClosed) return
    const count = await noteAbandonedFiles(id, engine, this.#deps, filesListedEveryMs, () => this.#isClosed)
    if (count > 0) log.info('abandoned uploads found', { tenant: id, count })
    if (this.#isClosed) return // perhaps not all of them were seen
    this.#facts = { ...this.#facts, filesListedAtMs: nowMs }
    this.#isDirty = true
  }

  #changed(): void {
    this.#isDirty = true
    const { clock, log } = this.#deps
    if (this.#isClosed || clock.monotonic() - this.#writtenAtMs < writePauseMs) return
    this.#write(this.#facts.nextCronAtMs).catch((error: unknown) =>
      log.warn('manifest was not written', { tenant: this.#spec.id, error: errorMessage(error) }),
    )
  }

  /** One after the other, so that the last one written is the newest. */
  #write(nextCronAtMs: number | null): Promise<void> {
    const writing = this.#writing.then(async () => {
      const databases = { ...this.#facts.databases }
      for (const [name, { manifest }] of this.#histories) {
        if (manifest === null) delete databases[name]
        else databases[name] = manifest
      }
      const facts = { ...this.#facts, databases, nextCronAtMs }
      this.#isDirty = false
      this.#writtenAtMs = this.#deps.clock.monotonic()
      try {
        await writeManifest(this.#deps, { tenant: this.#spec, facts, updatedAtMs: this.#deps.clock.now() })
        this.#facts = facts
      } catch (error) {
        this.#isDirty = true
        throw error
      }
    })
    this.#writing = writing.catch(() => undefined) // whoever asked for it hears it
    return writing
  }
}

/** What was known of the hooks still holds when nothing but our seal came behind it. */
function hooksAt({ hooks: known }: TenantFacts, opened: OpenedHistory): TenantFacts['hooks'] {
  return known !== null && known.txid === opened.txid - 1 ? { ...known, txid: opened.txid } : null
}
