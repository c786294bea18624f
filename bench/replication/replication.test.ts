// Goal: the bench beside Litestream runs, so that it cannot rot. Method: the same code at its smallest; no figure is judged.

import { expect } from 'bun:test'
import { testWithPeers } from '../../test/support/peers.ts'
import { benchReplication, smokeReplication } from './replication-bench.ts'

testWithPeers(
  ['litestream', 'minio'],
  'every part gives figures for both',
  async () => {
    const figures = await benchReplication(smokeReplication)
    expect(figures.filter(({ name }) => name.includes('Litestream')).length).toBeGreaterThan(10)
    for (const { value } of figures) expect(Number.isFinite(value)).toBe(true)
  },
  120_000,
)
