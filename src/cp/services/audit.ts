// The record of what admins do, and of what the fleet does by itself that cannot be undone. Most acts are recorded with
// their decision, in one entry of the log (`Propose` with facts); this makes the facts, records what needs no decision, and
// searches.

import type { Clock } from '../../lib/clock.ts'
import { type AuditFacts, type AuditRow, boundedFacts } from '../state/audit.ts'
import type { StateReader } from '../state/state.ts'
import type { Propose } from './proposer.ts'

/** Who acts, and from where. */
export interface Actor {
  /** null: the fleet itself. */
  readonly id: string | null
  readonly name: string
  readonly from: string
}

export const systemActor: Actor = { id: null, name: 'system', from: '' }

export interface Act {
  readonly action: string
  /** Id of what it is done to. */
  readonly target: string
  readonly targetName?: string
  /** undefined is left out. */
  readonly details?: Readonly<Record<string, string | number | boolean | null | undefined>>
}

export interface AuditQuery {
  /** Id or name of who acted. */
  readonly actor?: string
  /** Whole, or its beginning before a dot: `tenant` finds `tenant.delete`. */
  readonly action?: string
  /** Id or name of what it was done to. */
  readonly target?: string
  readonly fromMs?: number
  /** Exclusive. */
  readonly toMs?: number
}

export class AuditLog {
  readonly #deps: { readonly state: StateReader; readonly propose: Propose; readonly clock: Clock }

  constructor(deps: { readonly state: StateReader; readonly propose: Propose; readonly clock: Clock }) {
    this.#deps = deps
  }

  /** What to hand to `propose` beside the decision. */
  facts(by: Actor, { action, target, targetName = '', details = {} }: Act): AuditFacts {
    const told = Object.entries(details).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)] as const],
    )
    return {
      atMs: this.#deps.clock.now(),
      actorId: by.id,
      actor: by.name,
      from: by.from,
      action,
      target,
      targetName,
      details: Object.fromEntries(told),
    }
  }

  /** Records what needs no decision, before it is done: who cannot be recorded does nothing. */
  async note(by: Actor, act: Act): Promise<void> {
    await this.#deps.propose({ type: 'audit.append', audit: boundedFacts(this.facts(by, act)) })
  }

  /** Newest first: one page, and how many there are in all. */
  search(
    query: AuditQuery,
    page: { readonly from: number; readonly to: number },
  ): { readonly rows: readonly AuditRow[]; readonly total: number } {
    const rows: AuditRow[] = []
    let total = 0
    for (const row of this.#deps.state.audit.newestFirst()) {
      if (!isFound(row, query)) continue
      if (total >= page.from && total < page.to) rows.push(row)
      total++
    }
    return { rows, total }
  }
}

function isFound(row: AuditRow, { actor, action, target, fromMs, toMs }: AuditQuery): boolean {
  return (
    (actor === undefined || row.actorId === actor || row.actor === actor) &&
    (action === undefined || row.action === action || row.action.startsWith(`${action}.`)) &&
    (target === undefined || row.target === target || row.targetName === target) &&
    (fromMs === undefined || row.atMs >= fromMs) &&
    (toMs === undefined || row.atMs < toMs)
  )
}
