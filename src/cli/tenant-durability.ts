// `tenant durability|force-takeover`: when writes are acknowledged, and the way out when standbys do not come back.

import { type Command, Option } from 'commander'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderDetails } from './output.ts'

interface Durability {
  readonly slug: string
  readonly ackMode: string
  readonly lossBoundMs: number
  readonly onStoreOutage: string
  readonly warmStandby: boolean
  readonly placement?: {
    readonly nodeId: string
    readonly epoch: number
    readonly standbys: readonly string[]
    readonly warm: string | null
  } | null
}

const path = (reference: string) => `/api/cp/tenants/${encodeURIComponent(reference)}`

const describe = ({ slug, ackMode, lossBoundMs, onStoreOutage, warmStandby, placement }: Durability): string =>
  renderDetails({
    tenant: slug,
    ackMode,
    lossBoundMs: String(lossBoundMs),
    onStoreOutage,
    owner: placement ? `${placement.nodeId}, epoch ${placement.epoch}` : '-',
    standbys: placement?.standbys.join(', ') || '-',
    warm: placement?.warm ?? (warmStandby ? 'wanted, no node has room' : '-'),
  })

/** A whole number of milliseconds, for the API to judge further. */
export function milliseconds(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new ConfigError(`--loss-bound-ms: got ${text}, a whole number is needed`)
  return Number(text)
}

export function registerDurability(tenant: Command): void {
  const durability = tenant
    .command('durability')
    .description('show or set when writes of a tenant are acknowledged')
    .argument('<id|slug>')
    .option('--ack <MODE>', 'async, sync (object store), quorum (standby nodes), or quorum+sync')
    .option('--loss-bound-ms <MS>', 'async: answers wait once the object store is this far behind')
    .option('--on-store-outage <WHAT>', 'async, quorum: spool on this node, or refuse writes past the bound')
    .addOption(
      new Option(
        '--warm-standby <on|off>',
        'a second node keeps the databases, so that a takeover restores nothing',
      ).choices(['on', 'off']),
    )
  addClientFlags(durability).action(
    async (
      reference: string,
      options: { ack?: string; lossBoundMs?: string; onStoreOutage?: string; warmStandby?: 'on' | 'off'; json?: true },
    ) => {
      const change = {
        ...(options.ack && { ackMode: options.ack }),
        ...(options.lossBoundMs && { lossBoundMs: milliseconds(options.lossBoundMs) }),
        ...(options.onStoreOutage && { onStoreOutage: options.onStoreOutage }),
        ...(options.warmStandby && { warmStandby: options.warmStandby === 'on' }),
      }
      const client = clientOf(durability)
      const now =
        Object.keys(change).length === 0
          ? await client.request<Durability>('GET', path(reference))
          : await client.request<Durability>('PATCH', path(reference), change)
      print(now, options.json === true, describe)
    },
  )

  const force = tenant
    .command('force-takeover')
    .description('open a tenant without its standbys: what only they hold is lost')
    .argument('<id|slug>')
    .option('--accept-loss', 'yes, lose it')
  addClientFlags(force).action(async (reference: string, options: { acceptLoss?: true; json?: true }) => {
    if (!options.acceptLoss)
      throw new ConfigError(
        `acknowledged writes of ${reference} that only its standbys hold would be lost: repeat with --accept-loss`,
      )
    const forced = await clientOf(force).request<Durability>('POST', `${path(reference)}/force-takeover`, {
      acceptLoss: true,
    })
    print(forced, options.json === true, describe)
  })
}
