// `/api/cluster/admins`, also as `/api/cp/admins`.

import { Elysia, t } from 'elysia'
import type { AdminService } from '../services/admins.ts'
import type { Admin } from '../state/admins.ts'
import type { AdminAuth } from './admin-auth.ts'
import { refused } from './error-map.ts'
import { listQuery, pageOf } from './lists.ts'
import { pocketBaseTime } from './tenants.ts'

const createBody = t.Object({
  email: t.String({ pattern: '^[^\\s@]{1,64}@[^\\s@]{1,190}$' }),
  name: t.Optional(t.String({ maxLength: 200 })),
})

function adminBody({ id, name, email, permissions, createdAtMs }: Admin) {
  return { id, name, email, permissions, created: pocketBaseTime(createdAtMs) }
}

export const adminRoutes = (prefix: string, admins: AdminService, auth: AdminAuth) =>
  new Elysia({ prefix })
    .get('/', ({ query }) => pageOf(admins.list().map(adminBody), query, ['name', 'email']), { query: listQuery })
    .post(
      '/',
      async ({ body, request, status }) => {
        const name = body.name ?? body.email.split('@')[0]!
        const made = await admins.create({ email: body.email, name }, auth.actorOf(request))
        if (!made.ok) throw refused(made.error)
        return status(201, { ...adminBody(made.value.admin), token: made.value.token })
      },
      { body: createBody },
    )
    .delete('/:id', async ({ params, request, status }) => {
      const deleted = await admins.delete(params.id, auth.actorOf(request))
      if (!deleted.ok) throw refused(deleted.error)
      return status(204, undefined)
    })
