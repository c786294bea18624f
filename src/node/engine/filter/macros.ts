// `@now` and its kind: values of the moment in which a filter is compiled, in UTC.

import { formatDateTime } from '../fields/datetime.ts'

const dayMs = 86_400_000

function edge(nowMs: number, part: 'year' | 'month' | 'day', isEnd: boolean): string {
  const now = new Date(nowMs)
  const year = now.getUTCFullYear()
  const month = part === 'year' ? 0 : now.getUTCMonth()
  const date = part === 'day' ? now.getUTCDate() : 1
  if (!isEnd) return formatDateTime(Date.UTC(year, month, date))
  const [nextYear, nextMonth, nextDate] = [
    year + (part === 'year' ? 1 : 0),
    month + (part === 'month' ? 1 : 0),
    date + (part === 'day' ? 1 : 0),
  ]
  return formatDateTime(Date.UTC(nextYear, nextMonth, nextDate) - 1)
}

const values: Readonly<Record<string, (nowMs: number) => string | number>> = {
  '@now': formatDateTime,
  '@yesterday': (nowMs) => formatDateTime(nowMs - dayMs),
  '@tomorrow': (nowMs) => formatDateTime(nowMs + dayMs),
  '@second': (nowMs) => new Date(nowMs).getUTCSeconds(),
  '@minute': (nowMs) => new Date(nowMs).getUTCMinutes(),
  '@hour': (nowMs) => new Date(nowMs).getUTCHours(),
  '@day': (nowMs) => new Date(nowMs).getUTCDate(),
  '@month': (nowMs) => new Date(nowMs).getUTCMonth() + 1,
  '@weekday': (nowMs) => new Date(nowMs).getUTCDay(),
  '@year': (nowMs) => new Date(nowMs).getUTCFullYear(),
  '@todayStart': (nowMs) => edge(nowMs, 'day', false),
  '@todayEnd': (nowMs) => edge(nowMs, 'day', true),
  '@monthStart': (nowMs) => edge(nowMs, 'month', false),
  '@monthEnd': (nowMs) => edge(nowMs, 'month', true),
  '@yearStart': (nowMs) => edge(nowMs, 'year', false),
  '@yearEnd': (nowMs) => edge(nowMs, 'year', true),
}

/** The value of a macro; undefined when there is none of this name. Numbers are whole. */
export function macroValue(name: string, nowMs: number): string | number | undefined {
  return Object.hasOwn(values, name) ? values[name]!(nowMs) : undefined
}
