// `node list|drain`: the tenant nodes of the fleet.

import type { Command } from 'commander'
import { addClientFlags, clientOf } from './client.ts'
import { print, renderTable } from './output.ts'

interface NodeRow {
  readonly id: string
  readonly state: string
  readonly region: string
  readonly zone: string
  readonly tenants: number
  readonly version: string
}

export function registerNode(program: Command): void {
  const node = program.command('node').description('tenant nodes')

  const list = node.command('list').description('list the nodes')
  addClientFlags(list).action(async (options: { json?: boolean }) => {
    const page = await clientOf(list).request<{ items: readonly NodeRow[] }>('GET', '/api/cp/nodes?perPage=1000')
    print(page, options.json === true, () =>
      renderTable(page.items, [
        { title: 'id', text: (row) => row.id },
        { title: 'state', text: (row) => row.state },
        { title: 'tenants', text: (row) => String(row.tenants) },
        { title: 'region', text: (row) => row.region },
        { title: 'zone', text: (row) => row.zone },
        { title: 'version', text: (row) => row.version },
      ]),
    )
  })

  const drain = node.command('drain').description('move all tenants off a node').argument('<id>')
  addClientFlags(drain).action(async (id: string, options: { json?: boolean }) => {
    const answer = await clientOf(drain).request('POST', `/api/cp/nodes/${encodeURIComponent(id)}/drain`)
    print(answer ?? { draining: id }, options.json === true, () => `draining ${id}`)
  })
}
