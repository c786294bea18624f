// When a cron expression fires, in UTC and whole minutes. What is valid is `settings/cron-check.ts`. PocketBase:
// tools/cron/schedule.go: all five parts must match, so a day of the month and a day of the week narrow each other.

import { cronProblem } from '../settings/cron-check.ts'

const macros: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
}

export interface Schedule {
  readonly minutes: readonly number[]
  readonly hours: readonly number[]
  readonly days: ReadonlySet<number>
  readonly months: ReadonlySet<number>
  readonly daysOfWeek: ReadonlySet<number>
}

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
/** 29 February comes on a given weekday once in 28 years, or 40 across a century that is no leap year. */
const daysAheadMax = 41 * 366

/** @returns null for what is no cron expression. */
export function parseCron(expression: string): Schedule | null {
  if (cronProblem(expression) !== null) return null
  const [minutes, hours, days, months, daysOfWeek] = (macros[expression] ?? expression).split(' ')
  return {
    minutes: slots(minutes!, 0, 59),
    hours: slots(hours!, 0, 23),
    days: new Set(slots(days!, 1, 31)),
    months: new Set(slots(months!, 1, 12)),
    daysOfWeek: new Set(slots(daysOfWeek!, 0, 6)),
  }
}

function slots(segment: string, min: number, max: number): number[] {
  const found = new Set<number>()
  for (const part of segment.split(',')) {
    const [range, step = '1'] = part.split('/') as [string, string?]
    const bounds = range === '*' ? [min, max] : range.split('-').map(Number)
    for (let at = bounds[0]!; at <= (bounds[1] ?? bounds[0]!); at += Number(step)) found.add(at)
  }
  return [...found].sort((a, b) => a - b)
}

/** The first minute after `afterMs` that matches, ms since the Unix epoch; null when there is none (30 February). */
export function nextFireMs(schedule: Schedule, afterMs: number): number | null {
  const firstMs = Math.floor(afterMs / minuteMs) * minuteMs + minuteMs
  let dayAtMs = Math.floor(firstMs / dayMs) * dayMs
  for (let day = 0; day < daysAheadMax; day++, dayAtMs += dayMs) {
    const date = new Date(dayAtMs)
    if (!schedule.months.has(date.getUTCMonth() + 1)) continue
    if (!schedule.days.has(date.getUTCDate()) || !schedule.daysOfWeek.has(date.getUTCDay())) continue
    for (const hour of schedule.hours)
      for (const minute of schedule.minutes) {
        const atMs = dayAtMs + (hour * 60 + minute) * minuteMs
        if (atMs >= firstMs) return atMs
      }
  }
  return null
}
