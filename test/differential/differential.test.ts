// Goal: a client cannot tell us from PocketBase, whatever it asks.
// Method: random worlds and requests, sent to both, while every caller listens to realtime; see schema.ts, requests.ts.
// `test:long planted` shows that it can fail. SEED=n runs one world, REQUESTS=n sets its length.

import { expect } from 'bun:test'
import { testWithPeers } from '../support/peers.ts'
import { differ } from './differ.ts'

const one = process.env['SEED']
const seeds = one === undefined ? [1, 2, 3, 4] : [Number(one)]
const requests = Number(process.env['REQUESTS'] ?? 250)

for (const seed of seeds)
  testWithPeers(
    ['pocketbase'],
    `the same answers as PocketBase (SEED=${seed})`,
    async ({ pocketbase }) => {
      const { differences, statuses, events } = await differ(pocketbase, seed, requests)
      expect(differences.slice(0, 3)).toEqual([])
      expect(statuses.get('200') ?? 0).toBeGreaterThan(requests / 4)
      expect(statuses.get('400') ?? 0).toBeGreaterThan(0)
      expect(events).toBeGreaterThan(0)
    },
    180_000 + requests * 60,
  )
