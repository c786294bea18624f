// `tenant create|list|show|delete|adopt|import|migrate`; the others are beside it.

import type { Command } from 'commander'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf, secretOption } from './client.ts'
import { print, renderDetails, renderTable } from './output.ts'
import { registerArchive } from './tenant-archive.ts'
import { registerCost } from './tenant-cost.ts'
import { registerDrill } from './tenant-drill.ts'
import { registerDurability } from './tenant-durability.ts'
import { registerEject, registerTakeBack } from './tenant-eject.ts'
import { registerExport } from './tenant-export.ts'
import { importTenant } from './tenant-import.ts'
import { registerOrphans } from './tenant-orphans.ts'
import { registerRetention } from './tenant-retention.ts'
import { registerTimeTravel } from './tenant-time-travel.ts'

export interface TenantBody {
  readonly id: string
  readonly slug: string
  readonly status: string
  readonly plan: string
  readonly ackMode: string
  readonly created: string
  readonly placement?: {
    readonly nodeId: string
    readonly epoch: number
    readonly worker: number
    readonly busyWorker: number | null
  } | null
  readonly provenRestore?: { readonly at: string; readonly txid: number } | null
  readonly failedDrill?: { readonly at: string; readonly message: string } | null
  readonly setupUrl?: string
}

const path = (reference: string) => `/api/cp/tenants/${encodeURIComponent(reference)}`

/** The worker that serves it now: while it is busy, that is one of its own kind. */
const workerText = ({ worker, busyWorker }: NonNullable<TenantBody['placement']>) =>
  busyWorker === null ? String(worker) : `${busyWorker} (for busy tenants; else ${worker})`

const describe = (tenant: TenantBody): string => {
  const { placement, setupUrl, provenRestore, failedDrill, ...plain } = tenant
  return renderDetails({
    ...plain,
    ...(placement && { node: placement.nodeId, epoch: placement.epoch, worker: workerText(placement) }),
    ...(setupUrl && { setupUrl }),
    ...(provenRestore && { provenRestore: `${provenRestore.at} (TXID ${provenRestore.txid})` }),
    ...(failedDrill && { failedDrill: `${failedDrill.at}: ${failedDrill.message}` }),
  })
}

export function registerTenant(program: Command): void {
  const tenant = program.command('tenant').description('tenants: each a complete PocketBase-compatible backend')

  const create = tenant
    .command('create')
    .description(
      'make a tenant; without a superuser the answer holds a one-time token link (setupUrl), or use superuser upsert --tenant',
    )
    .argument('<slug>', 'its name, which makes its host')
    .option('--superuser <EMAIL>', 'e-mail of the first superuser')
    .option('--superuser-password <PASSWORD>', 'its password')
    .option('--superuser-password-file <PATH>', 'read the password from a file')
    .option('--domain <HOST>', 'custom domain')
    .option('--plan <NAME>', 'plan')
    .option('--ack <MODE>', 'when a write is acknowledged: async, sync, quorum or quorum+sync')
  addClientFlags(create).action(async (slug: string, options: Record<string, string | undefined> & { json?: true }) => {
    const password = secretOption(options['superuserPassword'], options['superuserPasswordFile'], 'superuser-password')
    if ((options['superuser'] === undefined) !== (password === null))
      throw new ConfigError('--superuser and --superuser-password (or -file) belong together')
    const made = await clientOf(create).request<TenantBody>('POST', '/api/cp/tenants', {
      id: slug,
      ...(options['domain'] && { domain: options['domain'] }),
      ...(options['plan'] && { plan: options['plan'] }),
      ...(options['ack'] && { ackMode: options['ack'] }),
      ...(password !== null && { superuser: { email: options['superuser'], password } }),
    })
    print(made, options.json === true, describe)
  })

  const list = tenant
    .command('list')
    .description('list the tenants')
    .option('--page <N>', 'page, from 1', '1')
    .option('--per-page <N>', 'tenants a page, at most 1000', '100')
  addClientFlags(list).action(async (options: { page: string; perPage: string; json?: true }) => {
    const query = new URLSearchParams({ page: options.page, perPage: options.perPage })
    const page = await clientOf(list).request<{ items: readonly TenantBody[]; totalItems: number }>(
      'GET',
      `/api/cp/tenants?${query}`,
    )
    print(page, options.json === true, () =>
      renderTable(page.items, [
        { title: 'slug', text: (row) => row.slug },
        { title: 'id', text: (row) => row.id },
        { title: 'status', text: (row) => row.status },
        { title: 'plan', text: (row) => row.plan },
        { title: 'node', text: (row) => row.placement?.nodeId ?? '-' },
        { title: 'epoch', text: (row) => String(row.placement?.epoch ?? '-') },
        { title: 'created', text: (row) => row.created },
      ]),
    )
  })

  const show = tenant.command('show').description('show one tenant').argument('<id|slug>')
  addClientFlags(show).action(async (reference: string, options: { json?: true }) => {
    print(await clientOf(show).request<TenantBody>('GET', path(reference)), options.json === true, describe)
  })

  const remove = tenant
    .command('delete')
    .description(
      'delete a tenant; its objects stay in the store for --deleted-keep-days, and as long tenant adopt ID takes it back',
    )
    .argument('<id|slug>')
    .option('--yes', 'do not ask')
  addClientFlags(remove).action(async (reference: string, options: { yes?: true; json?: true }) => {
    if (!options.yes) throw new ConfigError(`deleting ${reference} takes it offline: repeat the command with --yes`)
    await clientOf(remove).request('DELETE', path(reference))
    print({ deleted: reference }, options.json === true, () => `deleted ${reference}`)
  })

  const adopt = tenant
    .command('adopt')
    .description('take a tenant over from the object store that the control plane does not know, or that was deleted')
    .argument('<id|slug>')
    .option('--accept-loss', 'do not ask its standbys: commits that only they hold are lost')
  addClientFlags(adopt).action(async (reference: string, options: { acceptLoss?: true; json?: true }) => {
    const body = { reference, ...(options.acceptLoss && { acceptLoss: true }) }
    const adopted = await clientOf(adopt).request<TenantBody>('POST', '/api/cp/tenants/adopt', body)
    print(adopted, options.json === true, describe)
  })

  const take = tenant
    .command('import')
    .description(
      'replace the content of a tenant by an existing pb_data directory or its ZIP; may be repeated after an interruption',
    )
    .argument('<dir|zip>', 'a pb_data of PocketBase v0.23 or later, or a backup of one')
    .requiredOption('--tenant <id|slug>', 'the tenant that takes it over')
    .option('--yes', 'do not ask')
  addClientFlags(take).action(async (source: string, options: { tenant: string; yes?: true; json?: true }) => {
    if (!options.yes)
      throw new ConfigError(`this replaces everything in ${options.tenant}: repeat the command with --yes`)
    const result = await importTenant(clientOf(take), source, options.tenant)
    print(
      result,
      options.json === true,
      ({ files, filesKept, bytes, collections }) =>
        `imported ${collections} collections and ${files} files (${bytes} bytes) into ${options.tenant}` +
        (filesKept > 0 ? `; ${filesKept} files were there already` : ''),
    )
  })

  const migrate = tenant
    .command('migrate')
    .description('move a tenant to another node')
    .argument('<id|slug>')
    .option('--to <NODE>', 'the node; default: the best one')
  addClientFlags(migrate).action(async (reference: string, options: { to?: string; json?: true }) => {
    const moved = await clientOf(migrate).request<TenantBody>('POST', `${path(reference)}/migrate`, {
      ...(options.to && { node: options.to }),
    })
    print(moved, options.json === true, describe)
  })

  registerDurability(tenant)
  registerRetention(tenant)
  registerOrphans(tenant)
  registerTimeTravel(tenant)
  registerExport(tenant)
  registerDrill(tenant)
  registerEject(tenant)
  registerTakeBack(tenant)
  registerCost(tenant)
  registerArchive(tenant)
}
