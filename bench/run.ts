// `bun run bench [http|cold|tenants …]`: prints the figures and stores them under `bench/results/`.

import { benchColdStart, benchHttp, benchTenants, fullSize } from './load/fleet-bench.ts'
import { renderFigures, storeReport } from './report.ts'

const parts = { http: benchHttp, cold: benchColdStart, tenants: benchTenants }
const asked = process.argv.slice(2)
const unknown = asked.find((name) => !(name in parts))
if (unknown !== undefined) {
  console.error(`unknown part ${unknown}; there are ${Object.keys(parts).join(', ')}`)
  process.exit(2)
}
const startedAt = new Date()
const figures = []
for (const [name, run] of Object.entries(parts)) {
  if (asked.length > 0 && !asked.includes(name)) continue
  console.log(`${name} …`)
  figures.push(...(await run(fullSize)))
}
console.log(renderFigures(figures))
console.log(`stored ${storeReport('bench', startedAt, figures)}`)
