// Looks after the histories of one open tenant and writes its manifest: when it closes, and when merges or deletions have
// changed what a restore reads, but not per commit. No timer, and no request while nothing is written.

import type { TenantSpec } from '../../ipc/messages/tenant.ts'
import { errorMessage } from '../../lib/errors.ts'
import type { OpenedHistory } from '../../replicate/history.ts'
import type { ShippedFile } from '../../replicate/history-manifest.ts'
import { HistoryUpkeep, type UpkeepRunner } from '../../replicate/upkeep.ts'
import { noFacts, type TenantFacts, writeManifest } from './manifest.ts'
import type { TenantDeps } from './open-tenant.ts'
import { type DatabaseName, databaseNames } from './tenant-files.ts'

/** Between two manifests of a tenant that stays open, ms: each is a PUT, and a missed one only costs a listing. */
const writePauseMs = 60_000

export interface OpenFact {
  readonly opened: OpenedHistory
  /** How long the restore took, ms; null when the local files fitted. */
  readonly restoreMs: number | null
}

export class TenantUpkeep {
  readonly #deps: TenantDeps
  readonly #histories = new Map<DatabaseName, HistoryUpkeep>()
  #spec: TenantSpec
  #facts: TenantFacts
  #isDirty = true
  #isClosed = false
  #writtenAtMs: number
  #writing: Promise<void> = Promise.resolve()

  /** @param facts what the manifest says; null when there is none. */
  constructor(
    spec: TenantSpec,
    histories: Readonly<Partial<Record<DatabaseName, OpenFact>>>,
    facts: TenantFacts | null,
    deps: TenantDeps & { readonly upkeep: UpkeepRunner },
  ) {
    this.#spec = spec
    this.#facts = facts ?? noFacts
    this.#deps = deps
    this.#writtenAtMs = deps.clock.monotonic()
    for (const name of databaseNames) {
      const fact = histories[name]
      if (fact === undefined) continue
      const history = new HistoryUpkeep(fact.opened, this.#facts.databases[name] ?? null, {
        clock: deps.clock,
        log: deps.log.with({ tenant: spec.id }),
        runner: deps.upkeep,
        onChange: () => this.#changed(),
      })
      if (fact.restoreMs !== null) history.restoreTook(fact.restoreMs)
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

  /** Starts what time alone has made due. */
  work(): void {
    for (const history of this.#histories.values()) history.work()
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
   * @param nextCronAtMs when the closed tenant must be opened for a cron job; null for never.
   * @returns when a retention pass of the closed tenant is due, ms since the Unix epoch; null for never.
   */
  async close(nextCronAtMs: number | null): Promise<number | null> {
    this.abandon()
    if (this.#isDirty || nextCronAtMs !== this.#facts.nextCronAtMs) {
      try {
        await this.#write(nextCronAtMs)
      } catch (error) {
        this.#deps.log.warn('manifest was not written', { tenant: this.#spec.id, error: errorMessage(error) })
      }
    }
    const due = [...this.#histories.values()].flatMap(({ nextPassAtMs }) => nextPassAtMs ?? [])
    return due.length === 0 ? null : Math.min(...due)
  }

  /** The tenant is another owner's now: starts nothing and writes nothing more. */
  abandon(): void {
    this.#isClosed = true
    for (const history of this.#histories.values()) history.close()
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
