// `tenant restore-points|restore|fork|cancel`.

import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf } from './client.ts'
import { type MomentOptions, momentOf } from './moment.ts'
import { followOperation, type OperationBody } from './operation.ts'
import { print, renderTable } from './output.ts'
import { milliseconds } from './tenant-durability.ts'

interface ForkOptions extends MomentOptions {
  readonly domain?: string
  readonly ack?: string
  readonly lossBoundMs?: string
  readonly onStoreOutage?: string
  readonly json?: true
}

interface PointsBody {
  readonly ranges: readonly {
    readonly from: string
    readonly to: string
    readonly fromTxid: number
    readonly toTxid: number
    readonly points: number
    readonly resolution: string
  }[]
  readonly latest: readonly { readonly txid: number; readonly at: string }[]
}

interface CutBody {
  readonly at: string
  readonly data: number
}

interface PreviewBody {
  readonly cut: CutBody
  readonly collections: readonly {
    readonly name: string
    readonly fate: 'kept' | 'restored' | 'removed'
    readonly isSchemaChanged: boolean
    readonly added: number
    readonly changed: number
    readonly removed: number
  }[]
  readonly isSettingsChanged: boolean
  readonly hooks: { readonly added: number; readonly changed: number; readonly removed: number }
}

interface RestoreBody {
  readonly cut: CutBody
  readonly dataTxid: number
  readonly filesReleased: number
}

interface ForkBody {
  readonly cut: CutBody
  readonly filesCount: number
  readonly filesBytes: number
  readonly notes: readonly string[]
}

const path = (reference: string, rest: string) => `/api/cp/tenants/${encodeURIComponent(reference)}/${rest}`
const momentHelp = 'a time such as 2026-01-31T12:00:00Z, or how long ago: 15m, 2h, 3d'

export function registerTimeTravel(tenant: Command): void {
  registerCancel(tenant)
  const points = tenant
    .command('restore-points')
    .description('what a tenant can be restored to')
    .argument('<id|slug>')
    .option('--latest <N>', 'newest points to list', '10')
  addClientFlags(points).action(async (reference: string, options: { latest: string; json?: true }) => {
    const query = new URLSearchParams({ latest: options.latest })
    const found = await clientOf(points).request<PointsBody>('GET', path(reference, `restore-points?${query}`))
    print(found, options.json === true, describePoints)
  })

  const restore = tenant
    .command('restore')
    .description('take records, files, settings and hooks of a tenant back to a moment; undo it by another restore')
    .argument('<id|slug>')
    .option('--at <TIME>', momentHelp)
    .option('--txid <N>', 'a transaction of data.db, as restore-points lists them')
    .option('--dry-run', 'only show what would change')
    .option('--yes', 'do not ask')
  addClientFlags(restore).action(
    async (reference: string, options: MomentOptions & { dryRun?: true; yes?: true; json?: true }) => {
      const moment = momentOf(options, systemClock)
      if (Object.keys(moment).length === 0) throw new ConfigError('--at or --txid: name the moment to go back to')
      if (!options.dryRun && !options.yes)
        throw new ConfigError(
          `this takes ${reference} back: look at what would change with --dry-run, then repeat the command with --yes`,
        )
      const client = clientOf(restore)
      const body = { ...moment, ...(options.dryRun && { dryRun: true }) }
      if (options.dryRun) {
        const started = await client.request<OperationBody<PreviewBody>>('POST', path(reference, 'restore'), body)
        print(await followOperation(client, started, systemClock), options.json === true, describePreview)
        return
      }
      const started = await client.request<OperationBody<RestoreBody>>('POST', path(reference, 'restore'), body)
      print(await followOperation(client, started, systemClock), options.json === true, ({ cut, filesReleased }) =>
        [
          `${reference} is as of ${cut.at} (TXID ${cut.data})`,
          ...(filesReleased > 0
            ? [`${filesReleased} files of the newer state stay until retention releases them`]
            : []),
          `undo: pocketfleet tenant restore ${reference} --at <a time before now> --yes`,
        ].join('\n'),
      )
    },
  )

  const fork = tenant
    .command('fork')
    .description('make a new tenant out of another, as it is now or was; sessions of the one do not count in the other')
    .argument('<source>', 'id or slug')
    .argument('<slug>', 'name of the new one')
    .option('--at <TIME>', momentHelp)
    .option('--txid <N>', 'a transaction of data.db')
    .option('--domain <HOST>', 'custom domain')
    .option('--ack <MODE>', 'when a write is acknowledged: async, sync, quorum or quorum+sync; default: as the source')
    .option(
      '--loss-bound-ms <MS>',
      'async: answers wait once the object store is this far behind; default: as the source',
    )
    .option('--on-store-outage <WHAT>', 'spool or refuse; default: as the source')
  addClientFlags(fork).action(async (source: string, slug: string, options: ForkOptions) => {
    const client = clientOf(fork)
    const { tenant: made, operation } = await client.request<{
      tenant: { id: string }
      operation: OperationBody<ForkBody>
    }>('POST', path(source, 'fork'), {
      id: slug,
      ...momentOf(options, systemClock),
      ...(options.domain !== undefined && { domain: options.domain }),
      ...(options.ack !== undefined && { ackMode: options.ack }),
      ...(options.lossBoundMs !== undefined && { lossBoundMs: milliseconds(options.lossBoundMs) }),
      ...(options.onStoreOutage !== undefined && { onStoreOutage: options.onStoreOutage }),
    })
    const report = await followOperation(client, operation, systemClock)
    print({ id: made.id, slug, ...report }, options.json === true, ({ id, cut, filesCount, notes }) =>
      [`${slug} (${id}) is ${source} as of ${cut.at}, with ${filesCount} files`, ...notes].join('\n'),
    )
  })
}

function registerCancel(tenant: Command): void {
  const cancel = tenant
    .command('cancel')
    .description('give up a restore or a fork that is under way; a restore may have to be repeated')
    .argument('<id|slug>', 'the tenant that is restored, or the new one')
  addClientFlags(cancel).action(async (reference: string, options: { json?: true }) => {
    await clientOf(cancel).request('DELETE', path(reference, 'operations'))
    print({ cancelled: reference }, options.json === true, () => `cancelled what was under way for ${reference}`)
  })
}

function describePoints({ ranges, latest }: PointsBody): string {
  const first = renderTable(ranges, [
    { title: 'from', text: (row) => row.from },
    { title: 'to', text: (row) => row.to },
    { title: 'txids', text: (row) => `${row.fromTxid}-${row.toTxid}` },
    { title: 'points', text: (row) => String(row.points) },
    {
      title: 'resolution',
      text: (row) => (row.resolution === 'transaction' ? 'every transaction' : 'ends of merged files'),
    },
  ])
  if (latest.length === 0) return first
  const second = renderTable(latest, [
    { title: 'txid', text: (row) => String(row.txid) },
    { title: 'at', text: (row) => row.at },
  ])
  return `${first}\n\n${second}`
}

function describePreview({ cut, collections, isSettingsChanged, hooks }: PreviewBody): string {
  const lines = [`going back to ${cut.at} (TXID ${cut.data}) would change:`]
  if (collections.length > 0)
    lines.push(
      renderTable(collections, [
        { title: 'collection', text: (row) => row.name },
        { title: 'back', text: (row) => String(row.added) },
        { title: 'changed', text: (row) => String(row.changed) },
        { title: 'gone', text: (row) => String(row.removed) },
        { title: 'collection itself', text: (row) => fateOf(row.fate, row.isSchemaChanged) },
      ]),
    )
  const hooksChanged = hooks.added + hooks.changed + hooks.removed
  if (isSettingsChanged) lines.push('the settings')
  if (hooksChanged > 0) lines.push(`${hooksChanged} hooks`)
  return lines.length === 1 ? `going back to ${cut.at} (TXID ${cut.data}) would change nothing` : lines.join('\n')
}

function fateOf(fate: 'kept' | 'restored' | 'removed', isSchemaChanged: boolean): string {
  if (fate === 'restored') return 'comes back'
  if (fate === 'removed') return 'goes'
  return isSchemaChanged ? 'other fields or rules' : 'same'
}
