// `bun run bench [http|cold|tenants|realtime|neighbours|thread|ack …]`: prints the figures and stores them under `bench/results/`.
// `bun run bench compare`, which takes minutes and needs PocketBase, is asked for by name only, and so is
// `bun run bench replication`, which wants official Litestream and MinIO beside ours.

import { runCompare } from './compare/command.ts'
import { benchAck, fullAck } from './load/ack-bench.ts'
import { benchColdStart, benchHttp, benchTenants, fullSize } from './load/fleet-bench.ts'
import { benchNeighbours, fullNeighbours } from './load/neighbours-bench.ts'
import { benchRealtime, fullRealtime } from './load/realtime-bench.ts'
import { benchSharedThread, fullThread } from './micro/shared-thread.ts'
import { runReplication } from './replication/replication-bench.ts'
import { renderFigures, storeReport } from './report.ts'

const parts = {
  http: () => benchHttp(fullSize),
  cold: () => benchColdStart(fullSize),
  tenants: () => benchTenants(fullSize),
  realtime: () => benchRealtime(fullRealtime),
  neighbours: () => benchNeighbours(fullNeighbours),
  thread: () => benchSharedThread(fullThread),
  ack: () => benchAck(fullAck),
}
const asked = process.argv.slice(2)
if (asked[0] === 'compare') {
  await runCompare(asked.slice(1))
  process.exit(0)
}
if (asked[0] === 'replication') {
  await runReplication()
  process.exit(0)
}
const unknown = asked.find((name) => !(name in parts))
if (unknown !== undefined) {
  console.error(`unknown part ${unknown}; there are ${Object.keys(parts).join(', ')}, compare and replication`)
  process.exit(2)
}
const startedAt = new Date()
const figures = []
for (const [name, run] of Object.entries(parts)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  console.log(`${name} …`)
  figures.push(...(await run()))
}
console.log(renderFigures(figures))
console.log(`stored ${storeReport('bench', startedAt, figures)}`)
