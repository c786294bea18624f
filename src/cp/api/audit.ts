// `/api/cluster/audit`: who did what. Reading it is all that can be done.

import { Elysia, t } from 'elysia'
import type { AuditLog } from '../services/audit.ts'
import type { AuditRow } from '../state/audit.ts'
import { ApiError } from './error-map.ts'
import { perPageDefault, perPageMax } from './lists.ts'
import { pocketBaseTime } from './tenants.ts'
import { parseMoment } from './time-travel.ts'

const word = t.Optional(t.String({ minLength: 1, maxLength: 256 }))

function auditBody({ number, atMs, actorId, actor, from, action, target, targetName, details }: AuditRow) {
  return { id: number, created: pocketBaseTime(atMs), actor, actorId, from, action, target, targetName, details }
}

function momentOf(field: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const atMs = parseMoment(value)
  if (atMs !== null) return atMs
  const message = 'Must be a time with its zone, such as 2026-01-31T12:00:00Z.'
  throw new ApiError(400, message, { [field]: { code: 'invalid_moment', message } })
}

export const auditRoutes = (audit: AuditLog) =>
  new Elysia({ prefix: '/api/cluster/audit' }).get(
    '/',
    ({ query }) => {
      const { actor, action, target, page = 1, perPage: wanted = perPageDefault } = query
      const [fromMs, toMs] = [momentOf('from', query.from), momentOf('to', query.to)]
      const perPage = Math.min(perPageMax, Math.floor(wanted))
      const from = (Math.floor(page) - 1) * perPage
      const { rows, total } = audit.search(
        {
          ...(actor !== undefined && { actor }),
          ...(action !== undefined && { action }),
          ...(target !== undefined && { target }),
          ...(fromMs !== undefined && { fromMs }),
          ...(toMs !== undefined && { toMs }),
        },
        { from, to: from + perPage },
      )
      const totalPages = Math.ceil(total / perPage)
      return { page: Math.floor(page), perPage, totalItems: total, totalPages, items: rows.map(auditBody) }
    },
    {
      query: t.Object({
        page: t.Optional(t.Numeric({ minimum: 1 })),
        perPage: t.Optional(t.Numeric({ minimum: 1 })),
        actor: word,
        action: word,
        target: word,
        from: t.Optional(t.String({ maxLength: 40 })),
        to: t.Optional(t.String({ maxLength: 40 })),
      }),
    },
  )
