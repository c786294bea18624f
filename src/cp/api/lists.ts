// Paging, sorting and searching as PocketBase does it, over what is in memory.

import { t } from 'elysia'
import { ApiError } from './error-map.ts'

export const listQuery = t.Object({
  page: t.Optional(t.Numeric({ minimum: 1 })),
  perPage: t.Optional(t.Numeric({ minimum: 1 })),
  sort: t.Optional(t.String({ maxLength: 200 })),
  search: t.Optional(t.String({ maxLength: 200 })),
  status: t.Optional(t.String({ maxLength: 20 })),
  owner: t.Optional(t.String({ maxLength: 64 })),
  plan: t.Optional(t.String({ maxLength: 64 })),
  node: t.Optional(t.String({ maxLength: 64 })),
})

export type ListQuery = typeof listQuery.static

export const perPageDefault = 30
export const perPageMax = 1_000

type Body = Readonly<Record<string, unknown>>

/** `sort` names fields of the body, `-` for descending; `search` looks in the fields named. */
export function pageOf<T extends Body>(
  all: readonly T[],
  query: ListQuery,
  searched: readonly (keyof T & string)[],
): { page: number; perPage: number; totalItems: number; totalPages: number; items: T[] } {
  const needle = query.search?.toLowerCase()
  const found = all.filter(
    (item) => needle === undefined || searched.some((field) => String(item[field]).toLowerCase().includes(needle)),
  )
  const sorts = (query.sort ?? '').split(',').filter((part) => part !== '')
  for (const part of sorts) {
    const field = part.replace(/^[-+]/, '')
    if (all.length > 0 && !Object.hasOwn(all[0]!, field))
      throw new ApiError(400, 'Something went wrong while processing your request.', {
        sort: { code: 'invalid_sort', message: `There is no field ${field}.` },
      })
  }
  found.sort((a, b) => {
    for (const part of sorts) {
      const field = part.replace(/^[-+]/, '')
      const order = compare(a[field], b[field]) * (part.startsWith('-') ? -1 : 1)
      if (order !== 0) return order
    }
    return 0
  })
  const perPage = Math.min(perPageMax, Math.floor(query.perPage ?? perPageDefault))
  const page = Math.floor(query.page ?? 1)
  const from = (page - 1) * perPage
  return {
    page,
    perPage,
    totalItems: found.length,
    totalPages: Math.ceil(found.length / perPage),
    items: found.slice(from, from + perPage),
  }
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  const [left, right] = [String(a), String(b)]
  return left < right ? -1 : left > right ? 1 : 0
}
