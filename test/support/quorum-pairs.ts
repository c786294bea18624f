// Rounds in which the owner of a `quorum` tenant and one of its three standbys die together, with their disks, while clients
// write. What was acknowledged in the last moments is with the two other standbys alone.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRng } from '../../src/lib/rng.ts'
import { NodeFleet } from './node-fleet.ts'
import { until } from './wait.ts'

export interface PairsReport {
  readonly rounds: number
  readonly acknowledged: number
}

interface TenantBody {
  readonly placement: { readonly nodeId: string; readonly standbys: readonly string[] }
}

const superuser = { email: 'root@example.com', password: 'a-long-password' }
const writers = 4
/** Until a successor answers, also on a busy machine, ms. */
const takeoverMsMax = 60_000

/** Throws at the first acknowledged write that is not there, naming round and seed. */
export async function runQuorumPairs(options: {
  readonly seed: number
  readonly rounds: number
  readonly onRound: (line: string) => void
}): Promise<PairsReport> {
  const { seed, rounds, onRound } = options
  let acknowledged = 0
  for (let round = 0; round < rounds; round++) {
    const dir = mkdtempSync(join(tmpdir(), 'pf-quorum-pairs-'))
    try {
      await using fleet = await NodeFleet.start(dir, ['node-a', 'node-b', 'node-c', 'node-d'])
      const told = await runRound(fleet, seed + round)
      acknowledged += told
      onRound(`SEED=${seed + round}: ${told} acknowledged, all there, ${round + 1}/${rounds}`)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  }
  return { rounds, acknowledged }
}

/** @returns how many writes were acknowledged. */
async function runRound(fleet: NodeFleet, seed: number): Promise<number> {
  const rng = seededRng(seed)
  const made = (await fleet.admin('POST', '/tenants', { id: 'shop', ackMode: 'quorum', superuser })) as TenantBody
  const { nodeId, standbys } = made.placement
  if (standbys.length !== 3) throw new Error(`SEED=${seed}: ${standbys.length} standbys in place of three`)
  const client = fleet.sdk('shop')
  await client.collection('_superusers').authWithPassword(superuser.email, superuser.password)
  const fields = [{ name: 'title', type: 'text' }]
  await client.collections.create({ name: 'notes', type: 'base', listRule: '', createRule: '', fields })
  const journal: string[] = []
  let isWriting = true
  const writing = Array.from({ length: writers }, async (_, writer) => {
    for (let n = 0; isWriting; n++) {
      const title = `w${writer}-${n}`
      const isAcknowledged = await client
        .collection('notes')
        .create({ title })
        .then(
          () => true,
          () => false, // it may be there or not
        )
      if (isAcknowledged) journal.push(title)
    }
  })
  try {
    const count = 20 + rng.below(200)
    await until(`${count} writes`, () => journal.length >= count, takeoverMsMax)
    const other = standbys[rng.below(standbys.length)]!
    await Promise.all([nodeId, other].map((id) => fleet.destroyNode(id)))
    const before = journal.length
    await until('writes under a successor', () => journal.length > before + writers, takeoverMsMax)
    const { placement } = (await fleet.admin('GET', '/tenants/shop')) as TenantBody
    if ([nodeId, other].includes(placement.nodeId)) throw new Error(`SEED=${seed}: a dead node owns the tenant`)
  } finally {
    isWriting = false
    await Promise.all(writing)
  }
  const found = await client.collection('notes').getFullList<{ title: string }>({ fields: 'title' })
  const titles = new Set(found.map(({ title }) => title))
  const lost = journal.filter((title) => !titles.has(title))
  if (lost.length > 0)
    throw new Error(`SEED=${seed}: ${lost.length} acknowledged writes are lost: ${lost.slice(0, 20)}`)
  if (found.length !== titles.size) throw new Error(`SEED=${seed}: a write is there twice`)
  return journal.length
}
