// Who did what: `s/l/<number, 12 digits>`, one row an act. A decision and its record are one entry in the log (command
// `audited`), so neither is there without the other. Rows are only added; the oldest go by age and number.

import { type Codec, mapOf, nullable, struct, text, varint, versioned } from '../binary.ts'

/** What happened, apart from its number. Never a secret: values are names, numbers and words of the API. */
export interface AuditFacts {
  readonly atMs: number
  /** Id of the admin; null: the fleet itself, by its schedule. */
  readonly actorId: string | null
  /** The admin's e-mail address, or `system`: readable when the admin is gone. */
  readonly actor: string
  /** Address of the client; empty where there was none. */
  readonly from: string
  /** `tenant.delete`, `node.drain` … */
  readonly action: string
  /** Id of what it was done to. */
  readonly target: string
  /** The slug or name that it had then; may be empty. */
  readonly targetName: string
  readonly details: Readonly<Record<string, string>>
}

export interface AuditRow extends AuditFacts {
  /** From 1, without gaps. */
  readonly number: number
}

/** Rows that are kept; some 400 bytes each in memory. */
export const auditRowsMax = 50_000
/** How long they are kept: a year and a month, so that a year can be looked back on, ms. */
export const auditKeepMs = 396 * 86_400_000
/** Rows that one append removes at most, so that no entry of the log takes long to apply. */
export const auditTrimMax = 100
/** Of one value, characters; and of all facts, so that nobody fills the log. */
export const auditTextMax = 256
export const auditDetailsMax = 24

const factFields = {
  atMs: varint,
  actorId: nullable(text),
  actor: text,
  from: text,
  action: text,
  target: text,
  targetName: text,
  details: mapOf(text),
} as const

export const auditCodec: Codec<AuditFacts> = struct<AuditFacts>(factFields)
export const auditRows = versioned(1, struct<AuditRow>({ number: varint, ...factFields }))

/** The facts within their bounds. */
export function boundedFacts(facts: AuditFacts): AuditFacts {
  const cut = (value: string) => value.slice(0, auditTextMax)
  const { actor, from, action, target, targetName, details } = facts
  const kept = Object.entries(details).slice(0, auditDetailsMax)
  return {
    ...facts,
    actor: cut(actor),
    from: cut(from),
    action: cut(action),
    target: cut(target),
    targetName: cut(targetName),
    details: Object.fromEntries(kept.map(([name, value]) => [cut(name), cut(value)])),
  }
}
