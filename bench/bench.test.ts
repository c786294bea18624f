// Goal: the benches run, so that they cannot rot. Method: the same code at its smallest; no figure is judged.

import { expect, test } from 'bun:test'
import { benchAck, smokeAck } from './load/ack-bench.ts'
import { benchColdStart, benchHttp, benchTenants, smokeSize } from './load/fleet-bench.ts'
import { benchNeighbours, smokeNeighbours } from './load/neighbours-bench.ts'
import { benchRealtime, smokeRealtime } from './load/realtime-bench.ts'
import { benchSharedThread, smokeThread } from './micro/shared-thread.ts'

const parts = {
  http: () => benchHttp(smokeSize),
  cold: () => benchColdStart(smokeSize),
  tenants: () => benchTenants(smokeSize),
  realtime: () => benchRealtime(smokeRealtime),
  neighbours: () => benchNeighbours(smokeNeighbours),
  thread: () => benchSharedThread(smokeThread),
  ack: () => benchAck(smokeAck),
}
for (const [name, run] of Object.entries(parts))
  test(name, async () => {
    const figures = await run()
    expect(figures.length).toBeGreaterThan(1)
    for (const { value } of figures) expect(Number.isFinite(value)).toBe(true)
  }, 180_000)
