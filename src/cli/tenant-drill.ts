// `tenant drill`.

import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { addClientFlags, clientOf } from './client.ts'
import { followOperation, type OperationBody } from './operation.ts'
import { print, renderTable } from './output.ts'

interface DrillBody {
  readonly databases: readonly {
    readonly name: string
    readonly txid: number
    readonly sizeBytes: number
    readonly filesCount: number
    readonly restoreMs: number
    readonly otherFilesCount: number | null
  }[]
}

export function registerDrill(tenant: Command): void {
  const drill = tenant
    .command('drill')
    .description('prove that a tenant can be restored: on another node where there is one, every checksum compared')
    .argument('<id|slug>')
  addClientFlags(drill).action(async (reference: string, options: { json?: true }) => {
    const client = clientOf(drill)
    const started = await client.request<OperationBody<DrillBody>>(
      'POST',
      `/api/cp/tenants/${encodeURIComponent(reference)}/drill`,
    )
    print(await followOperation(client, started, systemClock), options.json === true, ({ databases }) =>
      [
        renderTable(databases, [
          { title: 'database', text: (row) => row.name },
          { title: 'txid', text: (row) => String(row.txid) },
          { title: 'MB', text: (row) => (row.sizeBytes / 1e6).toFixed(1) },
          { title: 'files', text: (row) => String(row.filesCount) },
          { title: 'restored in', text: (row) => `${row.restoreMs.toFixed(0)} ms` },
          {
            title: 'restored again from',
            text: (row) =>
              row.otherFilesCount === null ? 'nothing is merged yet' : `${row.otherFilesCount} other files`,
          },
        ]),
        `${reference} can be restored`,
      ].join('\n'),
    )
  })
}
