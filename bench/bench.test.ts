// Goal: the benches run, so that they cannot rot. Method: the same code at its smallest; no figure is judged.

import { expect, test } from 'bun:test'
import { benchColdStart, benchHttp, benchTenants, smokeSize } from './load/fleet-bench.ts'

for (const [name, run] of Object.entries({ benchHttp, benchColdStart, benchTenants }))
  test(name, async () => {
    const figures = await run(smokeSize)
    expect(figures.length).toBeGreaterThan(1)
    for (const { value } of figures) expect(Number.isFinite(value)).toBe(true)
  }, 60_000)
