// The superusers of a tenant, on the grant of a cluster admin: what `superuser create|update|delete|otp|ips --tenant` asks
// for. Passwords come as they do to every sign-in; `upsert` goes by way of the control plane, which hashes them.

import { platformSuperusersPath } from '../../ipc/messages/grant.ts'
import {
  createSuperuser,
  createSuperuserOtp,
  deleteSuperuser,
  setSuperuserIps,
  updateSuperuser,
} from '../engine/auth/superusers.ts'
import type { Engine } from '../engine/engine.ts'
import { readTexts } from './auth-forms.ts'
import { badRequest, notFound } from './error-map.ts'
import { grantOf, type PlatformOptions } from './platform.ts'
import type { RequestEvent } from './request-event.ts'
import type { Route } from './router.ts'

type Body = Readonly<Record<string, unknown>>

const verbs: Readonly<Record<string, (engine: Engine, body: Body) => Promise<unknown>>> = {
  async create(engine, body) {
    const { email, password } = readTexts(body, 'email', 'password')
    await createSuperuser(engine, email, password)
  },
  async update(engine, body) {
    const { email, password } = readTexts(body, 'email', 'password')
    await updateSuperuser(engine, email, password)
  },
  async delete(engine, body) {
    const { email } = readTexts(body, 'email')
    if (!(await deleteSuperuser(engine, email))) throw notFound(`There is no superuser ${email}.`)
  },
  otp: (engine, body) => createSuperuserOtp(engine, readTexts(body, 'email').email),
  async ips(engine, { addresses }) {
    if (!Array.isArray(addresses) || !addresses.every((each) => typeof each === 'string'))
      throw badRequest('The body must hold addresses, a list of texts.')
    await setSuperuserIps(engine, addresses)
  },
}

export function superuserRoutes(options: PlatformOptions): readonly Route[] {
  const handle = async (event: RequestEvent) => {
    grantOf(event, 'superusers', options)
    const body = await event.body()
    const verb = String(body['verb'])
    if (!Object.hasOwn(verbs, verb)) throw badRequest(`The verb must be one of ${Object.keys(verbs).join(', ')}.`)
    return event.json(200, (await verbs[verb]!(event.engine, body)) ?? {})
  }
  return [{ method: 'POST', path: platformSuperusersPath, limit: 'own', handle }]
}
