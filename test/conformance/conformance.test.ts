// Goal: every recorded case of PocketBase's behaviour passes. Method: its own runner starts `serve --mode=standalone` on
// a copy of its fixture for each case. CONFORMANCE_FILTER=… runs only some.

import { expect } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { repository } from '../support/fleet.ts'
import { testWithPeers } from '../support/peers.ts'

interface CaseResult {
  readonly id: string
  readonly status: 'passed' | 'failed' | 'skipped'
  readonly problems: readonly string[]
}

/** Fewer than this means that the cases were not found, not that all passed. */
const casesMin = 300

testWithPeers(
  ['conformance'],
  'every recorded case passes',
  async ({ conformance }) => {
    const folder = mkdtempSync(join(tmpdir(), 'pf-conformance-'))
    try {
      const filter = process.env['CONFORMANCE_FILTER']
      const report = join(folder, 'results.json')
      const start = `${process.execPath} ${join(repository, 'src/main.ts')} serve --mode=standalone --dir={dir} --http=127.0.0.1:{port} --log-level=error`
      const runner = Bun.spawn(
        [
          process.execPath,
          conformance,
          '--start',
          start,
          '--jobs',
          '2',
          '--json',
          report,
          ...(filter ? ['--filter', filter] : []),
        ],
        { stdio: ['ignore', 'ignore', 'ignore'] },
      )
      await runner.exited
      const results = JSON.parse(readFileSync(report, 'utf8')) as CaseResult[]
      const failed = results
        .filter((each) => each.status !== 'passed')
        .map((each) => `${each.id}: ${each.problems.join('; ')}`)
      expect(failed).toEqual([])
      if (!filter) expect(results.length).toBeGreaterThan(casesMin)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
  600_000,
)
