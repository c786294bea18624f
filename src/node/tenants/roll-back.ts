// Going back in place: of `data.db` and `hooks.db` the old content becomes the newest slot. `auxiliary.db`, which holds
// logs, is left alone. Nothing is rewritten, so undoing it is another one of the same.
//
// Everything that can turn out to be impossible is tried first. Then the slots are written, `hooks.db` before `data.db`;
// when that is interrupted, whoever ordered it orders it again.

import { Database as Sqlite } from 'bun:sqlite'
import { join } from 'node:path'
import type { Cut, RestoreReport } from '../../ipc/messages/jobs.ts'
import type { Placement } from '../../ipc/messages/tenant.ts'
import type { Txid } from '../../lib/brand.ts'
import { findTail } from '../../replicate/history.ts'
import { appendImage } from '../../replicate/point-in-time.ts'
import { restoreDatabase } from '../../replicate/restore.ts'
import { CorruptDatabaseError } from '../engine/db/database.ts'
import { reconcileDeletedFiles } from '../engine/files/file-references.ts'
import { locate } from './cut.ts'
import type { JobContext } from './job-context.ts'
import type { DatabaseName } from './tenant-files.ts'

interface Rebuilt {
  readonly name: DatabaseName
  readonly thenPath: string
  readonly nowPath: string
  /** The end of the history that {@link nowPath} is. */
  readonly tail: Txid
}

/** The tenant is closed everywhere; afterwards it is opened as usual. */
export async function rollBack(placement: Placement, cut: Cut, context: JobContext): Promise<RestoreReport> {
  const { clock, rng, signal, report } = context
  const append = async ({ name, thenPath, tail }: Rebuilt) =>
    appendImage(locate({ ...context, tenantId: placement.tenantId }, name), thenPath, {
      epoch: placement.epoch,
      clock,
      rng,
      signal,
      tail,
    })
  report({ step: 'rebuilding hooks.db', done: 0, total: 4 })
  const hooks = await rebuild('hooks.db', cut.hooks, placement, context)
  report({ step: 'rebuilding data.db', done: 1, total: 4 })
  const data = await rebuild('data.db', cut.data, placement, context)
  const filesReleased = reconcileDeletedFiles(data.thenPath, data.nowPath, clock.now())
  for (const { name, thenPath } of [hooks, data]) checkSound(name, thenPath)
  report({ step: 'writing hooks.db', done: 2, total: 4 })
  if (!(await isSameContent(hooks))) await append(hooks)
  report({ step: 'writing data.db', done: 3, total: 4 })
  return { cut, dataTxid: await append(data), filesReleased }
}

async function rebuild(
  name: DatabaseName,
  target: Txid,
  { tenantId }: Placement,
  context: JobContext,
): Promise<Rebuilt> {
  const { scratchDir, signal } = context
  const at = locate({ ...context, tenantId }, name)
  const [thenPath, nowPath] = [join(scratchDir, `then-${name}`), join(scratchDir, `now-${name}`)]
  await restoreDatabase(at, thenPath, { target, signal })
  const { files, last } = await findTail(at, signal)
  const tail = last.header.maxTxid
  await restoreDatabase(at, nowPath, { target: tail, files, signal })
  return { name, thenPath, nowPath, tail }
}

/** An old state that was damaged already is not worth going back to. */
export function checkSound(name: string, path: string): void {
  const database = new Sqlite(path, { readwrite: true })
  try {
    const row = database.query<{ quick_check: string }, []>('PRAGMA quick_check(1)').get()
    if (row?.quick_check !== 'ok') throw new CorruptDatabaseError(`${name} as of then is damaged: ${row?.quick_check}`)
  } finally {
    database.close()
  }
}

async function isSameContent({ thenPath, nowPath }: Rebuilt): Promise<boolean> {
  const hash = async (path: string) => {
    const hasher = new Bun.CryptoHasher('sha256')
    for await (const piece of Bun.file(path).stream()) hasher.update(piece)
    return hasher.digest('hex')
  }
  return (await hash(thenPath)) === (await hash(nowPath))
}
