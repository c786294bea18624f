// Goal: the bench beside Litestream runs, so that it cannot rot. Method: the same code at its smallest; no figure is judged.

import { expect } from 'bun:test'
import { testWithPeers } from '../../test/support/peers.ts'
import { benchReplication, smokeReplication } from './replication-bench.ts'
import { renderAims } from './table.ts'

testWithPeers(
  ['litestream', 'minio'],
  'every part gives figures for both',
  async () => {
    const figures = await benchReplication(smokeReplication)
    expect(figures.filter(({ name }) => name.includes('Litestream')).length).toBeGreaterThan(10)
    for (const { value } of figures) expect(Number.isFinite(value)).toBe(true)
    // Names in the table that no figure has would leave their row out.
    const table = renderAims(figures, { commit: '', machine: '', litestream: '' })
    for (const row of [
      'restore of 1 MB, MinIO',
      'capture, WAL to LTX',
      'sync ack, MinIO: p99',
      'cold open of 1 MB, MinIO: p50',
    ])
      expect(table).toContain(`| ${row}`)
    expect(table).toContain('| lag from commit to object: p99 |')
    expect(table).toContain('| requests an hour, idle |')
  },
  120_000,
)
