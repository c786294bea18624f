// The job `drill`: proves that all histories of a tenant can be restored, without its node.

import type { DrillReport } from '../../ipc/messages/jobs.ts'
import { drillHistory } from '../../replicate/drill.ts'
import { locate, type TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { readFacts } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'

/** Throws what the drill finds, DrillSpaceError, and what the object store throws. */
export async function drillTenant(histories: TenantHistories, context: JobContext): Promise<DrillReport> {
  const { clock, signal, scratchDir, report } = context
  const facts = await readFacts(histories, histories.tenantId)
  const databases: DrillReport['databases'][number][] = []
  for (const name of databaseNames) {
    const noted = facts?.databases[name]?.files ?? []
    const result = await drillHistory(locate(histories, name), scratchDir, {
      noted,
      clock,
      signal,
      onProgress: ({ bytesDone, bytesTotal }) =>
        report({ step: `restoring ${name}`, done: bytesDone, total: bytesTotal }),
    })
    databases.push({ name, ...result })
  }
  return { databases }
}
