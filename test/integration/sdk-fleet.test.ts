// Goal: the SDK cannot tell a tenant of a fleet from a server of its own.
// Method: the areas of sdk.test.ts that need nothing beside the server, through the gateway of an all-in-one fleet.
// Mails and providers are left out: test servers stand on loopback, which a shared node must not reach.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fleet } from '../support/fleet.ts'
import { authCalls } from './sdk/auth.ts'
import { batchCalls } from './sdk/batch.ts'
import { clientCalls } from './sdk/client.ts'
import { collectionCalls } from './sdk/collections.ts'
import { fileCalls } from './sdk/files.ts'
import { operationCalls } from './sdk/operations.ts'
import { realtimeCalls } from './sdk/realtime.ts'
import { recordCalls } from './sdk/records.ts'
import { type SdkWorld, signedIn, superuser } from './sdk/world.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const dir = mkdtempSync(join(tmpdir(), 'pf-sdk-fleet-'))
let fleet: Fleet
let made: SdkWorld
const world = () => made

beforeAll(async () => {
  fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
  const credentials = ['--superuser', superuser.email, '--superuser-password', superuser.password]
  await fleet.cli(['tenant', 'create', 'sdk', ...credentials])
  const url = fleet.tenantUrl('sdk')
  made = { url, root: await signedIn(url) }
}, 180_000)

afterAll(async () => {
  await fleet?.killTree()
  rmSync(dir, { recursive: true, force: true })
})

recordCalls(world)
fileCalls(world)
realtimeCalls(world)
authCalls(world)
batchCalls(world)
collectionCalls(world)
operationCalls(world)
clientCalls(world)

test('pages come through the gateway, and the link for a first superuser works', async () => {
  const answer = await fetch(`${world().url}/_/`)
  expect(answer.status).toBe(200)
  expect(answer.headers.get('content-security-policy')).toContain("default-src 'none'")
  for (const file of ['pages.css', 'pages.js', 'form.js'])
    expect((await fetch(`${world().url}/_/${file}`)).status).toBe(200)

  const made = await fleet.cli(['tenant', 'create', 'bare'])
  const token = /\/_\/#\/pbinstall\/([\w.-]+)/.exec(made)?.[1] ?? ''
  const created = await fetch(`${fleet.tenantUrl('bare')}/api/collections/_superusers/records`, {
    method: 'POST',
    headers: { authorization: token, 'content-type': 'application/json' },
    body: JSON.stringify({ email: superuser.email, password: superuser.password, passwordConfirm: superuser.password }),
  })
  expect(created.status).toBe(200)
})
