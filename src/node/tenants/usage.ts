// What a tenant has in the object store: objects and bytes by what they are and by storage class.

import type { UsageReport } from '../../ipc/messages/jobs.ts'
import type { ObjectStore } from '../../lib/object-store/object-store.ts'
import type { TenantHistories } from './cut.ts'
import type { JobContext } from './job-context.ts'
import { tenantPrefix } from './manifest.ts'

/** One listing of everything below the tenant's prefix: a request for a thousand objects. */
export async function measureUsage(histories: TenantHistories, context: JobContext): Promise<UsageReport> {
  const { store, signal, report } = context
  const prefix = `${tenantPrefix(histories.objectPrefix, histories.tenantId)}/`
  const rows = new Map<
    string,
    { kind: UsageReport['stored'][number]['kind']; storageClass: string; objects: number; bytes: number }
  >()
  let done = 0
  let next: string | null = null
  do {
    const page: Awaited<ReturnType<ObjectStore['list']>> = await store.list({ prefix, next, signal })
    for (const { key, sizeBytes, storageClass = defaultClass } of page.objects) {
      const kind = kindOf(key.slice(prefix.length))
      const id = `${kind}/${storageClass}`
      const row = rows.get(id) ?? { kind, storageClass, objects: 0, bytes: 0 }
      rows.set(id, { ...row, objects: row.objects + 1, bytes: row.bytes + sizeBytes })
    }
    done += page.objects.length
    report({ step: 'listing', done, total: null })
    next = page.next
  } while (next !== null)
  const stored = [...rows.values()].sort((a, b) => (a.kind + a.storageClass < b.kind + b.storageClass ? -1 : 1))
  return { stored, atMs: context.clock.now() }
}

/** What stores without classes, and listings that name none, count as. */
const defaultClass = 'STANDARD'

function kindOf(name: string): UsageReport['stored'][number]['kind'] {
  if (name.startsWith('files/')) return 'files'
  if (name.startsWith('backups/')) return 'backups'
  return /^(?:data|auxiliary|hooks)\.db\//.test(name) ? 'history' : 'other'
}
