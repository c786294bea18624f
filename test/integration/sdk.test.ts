// Goal: every documented call of the official JavaScript SDK works against us, and none is forgotten.
// Method: a standalone server on a port, a real SMTP server, an OpenID provider; the areas in `sdk/` run in one process,
// so that the last test can ask which public members of the SDK nobody called.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { createInstallerPath } from '../../src/node/engine/auth/superusers.ts'
import { setAuthOptions } from '../support/engine.ts'
import { startMailServer } from '../support/mail-server.ts'
import { startOidcProvider } from '../support/oidc-provider.ts'
import { type Standalone, startStandalone } from '../support/standalone.ts'
import { watchSdk } from './sdk/called.ts'
import { everyAreaOfTheSdk } from './sdk/every-area.ts'
import { newClient, type SdkAuthWorld, signedIn, superuser } from './sdk/world.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const watch = watchSdk(join(import.meta.dir, 'sdk/'))
let server: Standalone
let made: SdkAuthWorld
const world = () => made

beforeAll(async () => {
  const [started, mail, oidc] = await Promise.all([startStandalone(), startMailServer(), startOidcProvider()])
  server = started
  const { engine, url } = server
  for (const name of ['_superusers', 'users']) await setAuthOptions(engine, name, {}) // cheap passwords
  // The way of a first superuser: the installer's link.
  const installer = newClient(url)
  installer.authStore.save((await createInstallerPath(engine))!.replace('/_/#/pbinstall/', ''))
  await installer.collection('_superusers').create({ ...superuser, passwordConfirm: superuser.password })
  const root = await signedIn(url)
  await root.settings.update({ smtp: { enabled: true, host: '127.0.0.1', port: mail.port } })
  made = { url, root, mail, oidc }
})

afterAll(async () => {
  watch.stop()
  await Promise.all([server.stop(), made.mail.stop(), made.oidc.stop()])
})

everyAreaOfTheSdk(world)

test('no public member of the SDK was forgotten', () => {
  expect(watch.count).toBeGreaterThan(100)
  expect(watch.unused()).toEqual([])
})
