// Where a read runs: here, at once, or in a reader process, where it can be killed and holds nobody up. A statement that
// cannot visit many rows stays here; one that may scan goes there, until it has shown that it does not.

import type { Clock } from '../../../lib/clock.ts'
import { LruMap } from '../../../lib/lru.ts'
import type { MaybePromise } from '../../../lib/result.ts'
import { type Instruction, rowsVisitedMax, type ScanShape, scanShape } from './scan-cost.ts'
import { quoteName, type Row, type SqlParams } from './sql.ts'

/** Rows that a statement may visit here: about a millisecond's work. */
const rowsHereMax = 20_000
/** A statement that could visit more than this never runs here, however fast it has been. */
const rowsProvenMax = 1_000_000
/** Runs elsewhere that show a statement to be fast. */
const provingRuns = 3
/** What counts as fast elsewhere, ms: what going there costs. */
const fastMs = 0.5
/** A run here that takes longer than this was no business of ours, ms. */
const slowHereMs = 10
/**
 * A run here that takes longer than this sends the whole database away, ms: its rows may be few and hold many megabytes,
 * and another statement would be no better.
 */
const blockingMs = 250
/**
 * Characters that all patterns of LIKE together may have here: each may cost a pass over every text that is looked at, and
 * one text may have megabytes.
 */
const patternCharsMax = 100
/** Times as long as such a run took: it is all of this thread that such a database gets. */
const awayPerBlocked = 600
/** A statement that was cheap by its plan is sent away after so many more slow runs than fast ones: one may be the machine's fault. */
const slowRunsMax = 3
/** How long a statement, or with it a whole database, is sent away for, ms. */
const sentAwayMs = 60_000
/** Proven statements that were slow after all; beyond it nothing of this database counts as proven for a while. */
const surprisesMax = 5
/** Statements that are known. */
const statementsMax = 256
/** Rows written before sizes are looked at again. */
const changesPerLook = 1_000
/** Taken where the size cannot be told cheaply: tables without a rowid. */
const unknownRows = 1_000_000
/** The root page of the schema's own table. */
const schemaPage = 1

interface Route {
  readonly shape: ScanShape
  rowsMax: number
  /** {@link ReadRouter.noteChanges} when the sizes were looked at. */
  sizedAt: number
  fastRuns: number
  /** Slow runs here, less the fast ones since. */
  slowRuns: number
  awayUntilMs: number
}

export interface Elsewhere {
  readonly rows: Row[]
  /** Of the statement alone, without the way there. */
  readonly tookMs: number
}

export interface ReadRouterDeps {
  readonly clock: Clock
  /** Runs a statement on a connection of this process. */
  readonly here: (sql: string, params: SqlParams) => Row[]
  /** The same for a statement that is run once, so that it takes no place among those that are kept. */
  readonly look: (sql: string) => Row[]
  readonly elsewhere: (sql: string, params: SqlParams, deadlineMs: number) => Promise<Elsewhere>
}

export class ReadRouter {
  readonly #deps: ReadRouterDeps
  #routes = new LruMap<string, Route>(statementsMax)
  /** Tables by the root pages of themselves and their indexes; null until it is needed. */
  #tables: ReadonlyMap<number, string> | null = null
  readonly #sizes = new Map<string, { rows: number; at: number }>()
  #changes = 0
  #surprises = 0
  #suspiciousUntilMs = 0
  /** Until then all reads go elsewhere. */
  #awayUntilMs = 0

  constructor(deps: ReadRouterDeps) {
    this.#deps = deps
  }

  /** Rows were written. */
  noteChanges(count: number): void {
    this.#changes += count
  }

  /** The schema may have changed, or anything else: nothing that is known holds any more. */
  forget(): void {
    this.#routes = new LruMap(statementsMax)
    this.#tables = null
    this.#sizes.clear()
  }

  read(sql: string, params: SqlParams, deadlineMs: number): MaybePromise<Row[]> {
    const { clock, here } = this.#deps
    const startedMs = clock.monotonic()
    const route = this.#routeOf(sql)
    if (!this.#isForHere(route, startedMs) || patternChars(params) > patternCharsMax)
      return this.#elsewhere(route, sql, params, deadlineMs)
    const rows = here(sql, params)
    const endedMs = clock.monotonic()
    const tookMs = endedMs - startedMs
    if (tookMs > blockingMs) this.#awayUntilMs = endedMs + tookMs * awayPerBlocked
    if (tookMs > slowHereMs) this.#wasSlowHere(route, endedMs)
    else if (route.slowRuns > 0) route.slowRuns--
    return rows
  }

  #isForHere(route: Route, nowMs: number): boolean {
    if (nowMs < route.awayUntilMs || nowMs < this.#awayUntilMs) return false
    if (route.rowsMax <= rowsHereMax) return true
    return route.fastRuns >= provingRuns && route.rowsMax <= rowsProvenMax && nowMs >= this.#suspiciousUntilMs
  }

  async #elsewhere(route: Route, sql: string, params: SqlParams, deadlineMs: number): Promise<Row[]> {
    const { rows, tookMs } = await this.#deps.elsewhere(sql, params, deadlineMs)
    route.fastRuns = tookMs <= fastMs ? route.fastRuns + 1 : 0
    return rows
  }

  #wasSlowHere(route: Route, nowMs: number): void {
    const wasProven = route.rowsMax > rowsHereMax
    if (!wasProven && ++route.slowRuns < slowRunsMax) return
    route.slowRuns = 0
    route.fastRuns = 0
    route.awayUntilMs = nowMs + sentAwayMs
    if (!wasProven || ++this.#surprises <= surprisesMax) return
    this.#surprises = 0
    this.#suspiciousUntilMs = nowMs + sentAwayMs
  }

  #routeOf(sql: string): Route {
    let route = this.#routes.get(sql)
    if (route === undefined) {
      const shape = scanShape(this.#deps.look(`EXPLAIN ${sql}`) as unknown as Instruction[])
      const rowsMax = rowsVisitedMax(shape, (rootPage) => this.#rowsOf(rootPage))
      route = { shape, rowsMax, sizedAt: this.#changes, fastRuns: 0, slowRuns: 0, awayUntilMs: 0 }
      this.#routes.set(sql, route)
    } else if (this.#changes - route.sizedAt >= changesPerLook) {
      route.rowsMax = rowsVisitedMax(route.shape, (rootPage) => this.#rowsOf(rootPage))
      route.sizedAt = this.#changes
    }
    return route
  }

  #rowsOf(rootPage: number): number {
    this.#tables ??= new Map(
      this.#deps
        .look('SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 0')
        .map((row) => [Number(row['rootpage']), String(row['tbl_name'])]),
    )
    const table = this.#tables.get(rootPage)
    if (table === undefined) return rootPage === schemaPage ? 1 : unknownRows // a table that was made just now
    const known = this.#sizes.get(table)
    if (known !== undefined && this.#changes - known.at < changesPerLook) return known.rows
    const rows = this.#countOf(table)
    this.#sizes.set(table, { rows, at: this.#changes })
    return rows
  }

  /** The highest rowid stands for the number of rows: it is found at once, and deletes make it too large at worst. */
  #countOf(table: string): number {
    try {
      return Number(this.#deps.look(`SELECT max(_rowid_) AS n FROM ${quoteName(table)}`)[0]?.['n'] ?? 0)
    } catch {
      return unknownRows // WITHOUT ROWID
    }
  }
}

/** Of all parameters that may be patterns of LIKE: filters put `%` around what they look for. */
function patternChars(params: SqlParams): number {
  let chars = 0
  for (const each of params) if (typeof each === 'string' && each.includes('%')) chars += each.length
  return chars
}
