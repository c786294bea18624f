// `tenant retention`: how long every restore point of a tenant stays.

import type { Command } from 'commander'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderDetails } from './output.ts'

interface Retention {
  readonly slug: string
  /** null: as for everybody. */
  readonly keepPointsHours: number | null
}

const path = (reference: string) => `/api/cp/tenants/${encodeURIComponent(reference)}`

const describe = ({ slug, keepPointsHours }: Retention): string =>
  renderDetails({
    tenant: slug,
    everyPoint: keepPointsHours === null ? '24 h' : `${keepPointsHours} h`,
    onePerMinute: '7 days',
    onePerHour: '30 days',
  })

/** A whole number of hours, for the API to judge further; `default` takes the setting back. */
function hoursOf(text: string): number | null {
  if (text === 'default') return null
  if (!/^\d{1,4}$/.test(text)) throw new ConfigError(`--keep-points: got ${text}, hours or "default" are needed`)
  return Number(text)
}

export function registerRetention(tenant: Command): void {
  const retention = tenant
    .command('retention')
    .description('show or set how long every restore point of a tenant stays')
    .argument('<id|slug>')
    .option('--keep-points <HOURS>', 'from 1 to 720, or "default"; what is older is thinned out')
  addClientFlags(retention).action(async (reference: string, options: { keepPoints?: string; json?: true }) => {
    const client = clientOf(retention)
    const now =
      options.keepPoints === undefined
        ? await client.request<Retention>('GET', path(reference))
        : await client.request<Retention>('PATCH', path(reference), { keepPointsHours: hoursOf(options.keepPoints) })
    print(now, options.json === true, describe)
  })
}
