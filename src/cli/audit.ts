// `audit`: who did what in the fleet, newest first.

import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf } from './client.ts'
import { timeOf } from './moment.ts'
import { print, renderTable } from './output.ts'

interface AuditBody {
  readonly id: number
  readonly created: string
  readonly actor: string
  readonly from: string
  readonly action: string
  readonly target: string
  readonly targetName: string
  readonly details: Readonly<Record<string, string>>
}

interface AuditPage {
  readonly totalPages: number
  readonly items: readonly AuditBody[]
}

interface AuditOptions {
  readonly actor?: string
  readonly action?: string
  readonly target?: string
  readonly since?: string
  readonly until?: string
  readonly limit: string
  readonly all?: true
  readonly json?: true
}

/** Rows of one answer. */
const perPage = 1_000

export function registerAudit(program: Command): void {
  const verb = program
    .command('audit')
    .description(
      'list who did what: takeovers, adoptions, restores, forks, deletions, changes of plans and durability …',
    )
    .option('--actor <EMAIL|ID>', 'of one admin, or system')
    .option('--action <NAME>', 'such as tenant.delete, or tenant for all of them')
    .option('--target <ID|SLUG>', 'done to one tenant, node or admin')
    .option('--since <TIME>', 'from a time such as 2026-01-31T12:00:00Z on, or how long ago: 15m, 2h, 3d')
    .option('--until <TIME>', 'before a time')
    .option('--limit <N>', 'the newest N', '100')
    .option('--all', 'everything that is kept; with --json one line each, for an archive of your own')
  addClientFlags(verb).action(async (options: AuditOptions) => {
    const client = clientOf(verb)
    const limit = options.all ? Number.POSITIVE_INFINITY : Number(options.limit)
    if (!options.all && (!Number.isSafeInteger(limit) || limit < 1))
      throw new ConfigError('--limit: a number from 1 on')
    const query = new URLSearchParams({ perPage: String(Math.min(perPage, limit)) })
    for (const name of ['actor', 'action', 'target'] as const) if (options[name]) query.set(name, options[name])
    if (options.since) query.set('from', timeOf('--since', options.since, systemClock))
    if (options.until) query.set('to', timeOf('--until', options.until, systemClock))
    const rows: AuditBody[] = []
    for (let page = 1; ; page++) {
      query.set('page', String(page))
      // Newest first, and what comes meanwhile moves the pages: what was seen is not shown twice.
      const { items, totalPages } = await client.request<AuditPage>('GET', `/api/cluster/audit?${query}`)
      const oldest = rows.at(-1)?.id ?? Number.POSITIVE_INFINITY
      rows.push(...items.filter(({ id }) => id < oldest))
      if (rows.length >= limit || page >= totalPages) break
    }
    const shown = rows.slice(0, limit)
    if (options.all && options.json) for (const row of shown) process.stdout.write(`${JSON.stringify(row)}\n`)
    else print(shown, options.json === true, () => table(shown))
  })
}

function table(rows: readonly AuditBody[]): string {
  return renderTable(rows, [
    { title: 'time', text: (row) => row.created },
    { title: 'actor', text: (row) => row.actor },
    { title: 'from', text: (row) => row.from },
    { title: 'action', text: (row) => row.action },
    { title: 'target', text: (row) => (row.targetName === '' ? row.target : `${row.targetName} (${row.target})`) },
    {
      title: 'details',
      text: (row) =>
        Object.entries(row.details)
          .map(([name, value]) => `${name}=${value}`)
          .join(' '),
    },
  ])
}
