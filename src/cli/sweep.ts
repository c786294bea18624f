// `sweep list|run`: objects in the store that nobody needs any more.

import type { Command } from 'commander'
import { sleep, systemClock } from '../lib/clock.ts'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderTable } from './output.ts'

interface LeftoverBody {
  readonly tenant: string
  readonly slug: string
  readonly kind: string
  readonly phase: string
  readonly due: string | null
  readonly objects: number
  readonly bytes: number
}

interface RoundBody {
  readonly dryRun: boolean
  readonly started: string
  readonly ended: string | null
  readonly steps: readonly {
    readonly tenant: string
    readonly slug: string
    readonly kind: string
    readonly does: string
    readonly objects: number
    readonly bytes: number
    readonly reason: string | null
  }[]
  readonly uploadsEnded: number
}

interface SweepPage {
  readonly totalItems: number
  readonly items: readonly LeftoverBody[]
  readonly lastRound: RoundBody | null
}

const path = '/api/cp/sweep'
/** Of a list, the next ones due first. */
const shownMax = 1_000
const askAgainMs = 500

export function registerSweep(program: Command): void {
  const sweep = program
    .command('sweep')
    .description(
      'objects that nobody needs any more: of deleted tenants, of forks that failed, of paths that were left',
    )

  const list = sweep
    .command('list')
    .description('list what waits for its deletion, and until when it may be adopted again')
  addClientFlags(list).action(async (options: { json?: true }) => {
    const page = await clientOf(list).request<SweepPage>('GET', `${path}?perPage=${shownMax}`)
    print(page, options.json === true, ({ items, totalItems }) => {
      const table = renderTable(items, [
        { title: 'tenant', text: (row) => row.tenant },
        { title: 'slug', text: (row) => row.slug },
        { title: 'kind', text: (row) => row.kind },
        { title: 'phase', text: (row) => row.phase },
        { title: 'next', text: (row) => row.due ?? '-' },
        { title: 'objects', text: (row) => String(row.objects) },
        { title: 'bytes', text: (row) => String(row.bytes) },
      ])
      return totalItems > items.length ? `${table}\n… and ${totalItems - items.length} more` : table
    })
  })

  const run = sweep
    .command('run')
    .description('do now what the schedule does every hour: name what is due, delete what was named a day ago')
    .option('--dry-run', 'only look, and say what would be done')
  addClientFlags(run).action(async (options: { dryRun?: true; json?: true }) => {
    const client = clientOf(run)
    let round = await client.request<RoundBody>('POST', path, { dryRun: options.dryRun === true })
    const { started } = round
    while (round.ended === null) {
      await sleep(systemClock, askAgainMs)
      const { lastRound } = await client.request<SweepPage>('GET', `${path}?perPage=1`)
      if (lastRound === null || lastRound.started !== started) break // the control plane started anew; the schedule goes on
      round = lastRound
    }
    print(round, options.json === true, ({ steps, uploadsEnded }) => {
      const table = renderTable(steps, [
        { title: 'tenant', text: (row) => row.tenant },
        { title: 'slug', text: (row) => row.slug },
        { title: 'kind', text: (row) => row.kind },
        { title: options.dryRun ? 'would' : 'done', text: (row) => row.does },
        { title: 'objects', text: (row) => String(row.objects) },
        { title: 'bytes', text: (row) => String(row.bytes) },
        { title: 'reason', text: (row) => row.reason ?? '' },
      ])
      return uploadsEnded === 0 ? table : `${table}\n${uploadsEnded} unfinished uploads ended`
    })
  })
}
