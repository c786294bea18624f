// How long writes wait while a tenant of some size moves to another node, as a client behind the gateway sees it.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRng } from '../../src/lib/rng.ts'
import { writeDuring } from '../../test/support/move-pause.ts'
import { NodeFleet } from '../../test/support/node-fleet.ts'
import type { Figure } from '../report.ts'

const superuser = { email: 'bench@example.com', password: 'a-long-bench-password' }
/** Of one record, which no page holds with another. */
const recordBytes = 400_000

export async function benchMove(size: { readonly sizeBytes: number; readonly moves: number }): Promise<Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), 'pf-bench-move-'))
  try {
    await using fleet = await NodeFleet.start(dir, ['node-a', 'node-b'])
    const made = (await fleet.admin('POST', '/tenants', { id: 'bench', superuser })) as {
      readonly placement: { readonly nodeId: string }
    }
    const client = fleet.sdk('bench')
    await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
    const fields = [
      { name: 'title', type: 'text' },
      { name: 'body', type: 'json', maxSize: 1_000_000 },
    ]
    await client.collections.create({ name: 'notes', type: 'base', listRule: '', createRule: '', fields })
    const rng = seededRng(5)
    for (let bytes = 0; bytes < size.sizeBytes; bytes += recordBytes) {
      const body = Buffer.from(rng.bytes((recordBytes * 3) / 4)).toString('base64')
      await client.collection('notes').create({ title: 'large', body })
    }
    const pauses: number[] = []
    let owner = made.placement.nodeId
    for (let move = 0; move < size.moves; move++) {
      const node = owner === 'node-a' ? 'node-b' : 'node-a'
      const { longestMs } = await writeDuring(client, () => fleet.admin('POST', '/tenants/bench/migrate', { node }))
      pauses.push(longestMs)
      owner = node
    }
    const name = `planned move of ${size.sizeBytes / 1e6} MB: longest wait of a write`
    const later = [...pauses.slice(1)].sort((a, b) => a - b)
    return [
      { name: `${name}, to a node that never had it`, value: pauses[0]!, unit: 'ms' },
      { name: `${name}, back and forth, median`, value: later[later.length >> 1] ?? pauses[0]!, unit: 'ms' },
    ]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
