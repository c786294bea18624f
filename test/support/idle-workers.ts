// The workers of a node of which no process has been started.

import { SimClock } from '../../src/lib/clock.ts'
import { silentLogger as log } from '../../src/lib/obs/log.ts'
import { seededRng } from '../../src/lib/rng.ts'
import type { WorkerConfig } from '../../src/node/config.ts'
import { NodeWorkers } from '../../src/node/node-workers.ts'
import { WorkerProcess } from '../../src/node/worker-process.ts'

export function idleWorkers(ordinary: number): NodeWorkers {
  return new NodeWorkers({
    ordinary,
    busyMax: 0,
    make: (index) =>
      new WorkerProcess({ index } as WorkerConfig, {
        clock: new SimClock(),
        rng: seededRng(1),
        log,
        onQuestion: async () => null,
        onAddress: () => {},
        onOpened: () => {},
        leaseMsLeft: () => 0,
      }),
  })
}
