// `tenant cost`.

import type { Command } from 'commander'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderTable } from './output.ts'

interface CostBody {
  readonly stored: readonly {
    readonly kind: string
    readonly storageClass: string
    readonly objects: number
    readonly bytes: number
  }[]
  readonly requests: {
    readonly since: string | null
    readonly calls: Readonly<Record<string, number>>
    readonly bytesSent: number
    readonly bytesReceived: number
    readonly nodesMissing: readonly string[]
  }
  readonly cost: { readonly currency: string; readonly storagePerMonth: number; readonly requests: number }
}

export function registerCost(tenant: Command): void {
  const verb = tenant
    .command('cost')
    .description('what a tenant has in the object store, what it asked of it, and what that costs by the price table')
    .argument('<id|slug>')
  addClientFlags(verb).action(async (reference: string, options: { json?: true }) => {
    const path = `/api/cp/tenants/${encodeURIComponent(reference)}/cost`
    print(await clientOf(verb).request<CostBody>('GET', path), options.json === true, describe)
  })
}

function describe({ stored, requests, cost }: CostBody): string {
  const money = (amount: number) => `${cost.currency} ${amount.toFixed(6)}`
  const calls = Object.entries(requests.calls).map(([kind, count]) => `${count} ${kind}`)
  return [
    renderTable(stored, [
      { title: 'stored', text: (row) => row.kind },
      { title: 'class', text: (row) => row.storageClass },
      { title: 'objects', text: (row) => String(row.objects) },
      { title: 'bytes', text: (row) => String(row.bytes) },
    ]),
    `${money(cost.storagePerMonth)} a month for what is stored now`,
    '',
    `requests since ${requests.since ?? 'never'}: ${calls.join(', ')}; ${requests.bytesSent} bytes sent, ${requests.bytesReceived} received`,
    `${money(cost.requests)} for them`,
    ...(requests.nodesMissing.length > 0
      ? [`not counted, for they do not answer: ${requests.nodesMissing.join(', ')}`]
      : []),
  ].join('\n')
}
