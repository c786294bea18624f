// Grants for what goes straight to a worker: the bearer may do one operation on one tenant for some minutes.

import { Elysia, t } from 'elysia'
import type { ClusterSecrets } from '../../ipc/keys.ts'
import { grantActions, grantLifetimeMs, signGrant } from '../../ipc/messages/grant.ts'
import type { Clock } from '../../lib/clock.ts'
import type { AuditLog } from '../services/audit.ts'
import type { TenantService } from '../services/tenants.ts'
import type { AdminAuth } from './admin-auth.ts'
import { refused } from './error-map.ts'

export interface GrantDeps {
  readonly tenants: TenantService
  readonly audit: AuditLog
  readonly auth: AdminAuth
  readonly secrets: ClusterSecrets
  readonly clock: Clock
}

export const grantRoutes = ({ tenants, audit, auth, secrets, clock }: GrantDeps) =>
  new Elysia({ prefix: '/api/cp/tenants' }).post(
    '/:id/grants',
    async ({ params, body, request }) => {
      const found = tenants.find(params.id)
      const admin = auth.adminOf(request)
      if (found === null || admin === null) throw refused('not_found')
      const { id, slug } = found.tenant
      const record = { action: `tenant.${body.action}`, target: id, targetName: slug }
      await audit.note(auth.actorOf(request), record)
      const expiresAtMs = clock.now() + grantLifetimeMs
      const grant = signGrant(secrets, { tenantId: id, action: body.action, admin: admin.id, expiresAtMs })
      return { tenant: id, grant, expires: new Date(expiresAtMs).toISOString() }
    },
    { body: t.Object({ action: t.Union(grantActions.map((action) => t.Literal(action))) }) },
  )
