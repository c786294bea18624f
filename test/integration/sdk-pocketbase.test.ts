// Goal: what the SDK tests expect of us is what PocketBase does, so that they cannot drift into our own ways.
// Method: the same areas as in sdk.test.ts, against the real PocketBase.

import { afterAll, beforeAll, describe, setDefaultTimeout } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startMailServer } from '../support/mail-server.ts'
import { startOidcProvider } from '../support/oidc-provider.ts'
import { peer, testWithPeers } from '../support/peers.ts'
import { type PeerServer, startPocketBase } from '../support/pocketbase.ts'
import { everyAreaOfTheSdk } from './sdk/every-area.ts'
import { type SdkAuthWorld, signedIn, superuser } from './sdk/world.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const binary = peer('pocketbase')
if (binary === null) testWithPeers(['pocketbase'], 'the SDK tests hold for PocketBase', () => {})
else
  describe('PocketBase', () => {
    const dir = mkdtempSync(join(tmpdir(), 'pf-sdk-peer-'))
    let server: PeerServer
    let made: SdkAuthWorld
    const world = () => made

    beforeAll(async () => {
      const [started, mail, oidc] = await Promise.all([
        startPocketBase(binary, { dir, superuser }),
        startMailServer(),
        startOidcProvider(),
      ])
      server = started
      const root = await signedIn(server.url)
      await root.settings.update({ smtp: { enabled: true, host: '127.0.0.1', port: mail.port } })
      made = { url: server.url, root, mail, oidc }
    })

    afterAll(async () => {
      await Promise.all([server.stop(), made.mail.stop(), made.oidc.stop()])
      rmSync(dir, { recursive: true, force: true })
    })

    everyAreaOfTheSdk(world)
  })
