// A moment as people type it.

import type { Clock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export interface MomentOptions {
  readonly at?: string
  readonly txid?: string
}

/**
 * What `--at` and `--txid` name, as the API takes it; empty when neither was given. `--at` is a time with its zone, a local
 * time of this machine, or how long ago: `90s`, `15m`, `2h`, `3d`. Throws ConfigError.
 */
export function momentOf({ at, txid }: MomentOptions, clock: Clock): { readonly at?: string; readonly txid?: number } {
  if (at !== undefined && txid !== undefined) throw new ConfigError('--at and --txid: give one of them')
  if (txid !== undefined) {
    if (!/^[1-9]\d{0,14}$/.test(txid)) throw new ConfigError(`--txid: got ${txid}, expected a number from 1`)
    return { txid: Number(txid) }
  }
  return at === undefined ? {} : { at: timeOf('--at', at, clock) }
}

/**
 * A time as the API takes it: `text` is one with its zone, a local one of this machine, or how long ago. Throws ConfigError,
 * which names `flag`.
 */
export function timeOf(flag: string, text: string, clock: Clock): string {
  const ago = /^(\d{1,9})([smhd])$/.exec(text)
  const isTime = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?$/.test(text)
  const agoMs = ago === null ? Number.NaN : Number(ago[1]) * unitMs[ago[2]!]!
  const time = new Date(isTime ? Date.parse(text.replace(' ', 'T')) : clock.now() - agoMs)
  if (!Number.isNaN(time.getTime())) return time.toISOString()
  throw new ConfigError(
    `${flag}: got ${text}, expected a time such as 2026-01-31T12:00:00Z or "2026-01-31 13:00", or how long ago: 15m, 2h, 3d`,
  )
}
