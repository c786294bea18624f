// Where each database of a tenant stands in the store, for programs that are not ours; and, where it is to be handed over
// to the official replicator for good, leaving it so that this can go on.

import { join } from 'node:path'
import type { EjectReport } from '../../ipc/messages/jobs.ts'
import { handOver } from '../../replicate/hand-over.ts'
import { findTail } from '../../replicate/history.ts'
import { locate, type TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { markHandedOver } from './manifest.ts'
import { databaseNames } from './tenant-files.ts'

/** @param isHandedOver the tenant is stopped and stays so. */
export async function ejectTenant(
  histories: TenantHistories,
  isHandedOver: boolean,
  context: JobContext,
): Promise<EjectReport> {
  const { scratchDir, clock, signal, report } = context
  const databases: EjectReport['databases'][number][] = []
  if (isHandedOver) await markHandedOver(context, histories.tenantId, clock.now())
  for (const [index, name] of databaseNames.entries()) {
    report({ step: `looking at ${name}`, done: index, total: databaseNames.length })
    const at = locate(histories, name)
    if (isHandedOver) {
      const done = await handOver(at, { scratchPath: join(scratchDir, name), clock, signal })
      databases.push({ name, txid: done.txid, atMs: done.timestampMs })
    } else {
      const { header } = (await findTail(at, signal)).last
      databases.push({ name, txid: header.maxTxid, atMs: header.timestampMs })
    }
  }
  return { databases, isHandedOver }
}
