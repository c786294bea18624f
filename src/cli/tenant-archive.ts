// `tenant archive|resume`.

import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { addClientFlags, clientOf } from './client.ts'
import { followOperation, type OperationBody } from './operation.ts'
import { print } from './output.ts'

interface ArchiveReportBody {
  readonly objectsMoved: number
  readonly bytesMoved: number
  readonly filesDeleted: number
}

interface ResumedBody {
  readonly slug: string
  readonly archive: { readonly reopenMs: number | null } | null
}

export function registerArchive(tenant: Command): void {
  const archive = tenant
    .command('archive')
    .description('merge a tenant and move it to a cheap class now; its next request brings it back')
    .argument('<id|slug>')
  addClientFlags(archive).action(async (reference: string, options: { json?: true }) => {
    const client = clientOf(archive)
    const path = `/api/cp/tenants/${encodeURIComponent(reference)}/archive`
    const started = await client.request<OperationBody<ArchiveReportBody>>('POST', path)
    print(
      await followOperation(client, started, systemClock),
      options.json === true,
      ({ objectsMoved, bytesMoved, filesDeleted }) =>
        `archived ${reference}: ${objectsMoved} objects (${bytesMoved} bytes) moved, ${filesDeleted} history files merged away`,
    )
  })

  const resume = tenant.command('resume').description('bring an archived tenant back').argument('<id|slug>')
  addClientFlags(resume).action(async (reference: string, options: { json?: true }) => {
    const path = `/api/cp/tenants/${encodeURIComponent(reference)}/resume`
    print(
      await clientOf(resume).request<ResumedBody>('POST', path),
      options.json === true,
      ({ slug, archive: facts }) => `${slug} is back${facts?.reopenMs == null ? '' : `, after ${facts.reopenMs} ms`}`,
    )
  })
}
