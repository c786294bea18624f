// A real fleet from source with one tenant, `shop`, that has notes with photos.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type PocketBase from 'pocketbase'
import { Fleet } from './fleet.ts'

export const shopSuperuser = { email: 'root@example.com', password: 'a-long-password' }

/** @param body gets the fleet and the SDK, signed in as superuser; the fleet and its files are gone afterwards. */
export async function withShop(body: (fleet: Fleet, client: PocketBase) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-shop-'))
  const fleet = await Fleet.start({ dir, flags: ['--workers=1'] })
  try {
    const { email, password } = shopSuperuser
    await fleet.cli(['tenant', 'create', 'shop', '--superuser', email, '--superuser-password', password])
    const client = fleet.sdk('shop')
    await client.collection('_superusers').authWithPassword(email, password)
    await client.collections.create({
      name: 'notes',
      type: 'base',
      viewRule: '',
      fields: [
        { name: 'title', type: 'text' },
        { name: 'photo', type: 'file', maxSelect: 1, maxSize: 1_000_000 },
      ],
    })
    await body(fleet, client)
  } finally {
    await fleet.killTree()
    rmSync(dir, { recursive: true, force: true })
  }
}
