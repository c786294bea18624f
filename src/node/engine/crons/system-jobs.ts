// The jobs that every tenant has, under PocketBase's names. PocketBase: core/base.go, core/base_backup.go.

import { deleteExpired } from '../auth/system-records.ts'
import { runAutoBackup } from '../backups/backups.ts'
import { mfasName, otpsName } from '../collections/collection.ts'
import type { Engine } from '../engine.ts'
import { logsOf } from '../logs/log-store.ts'
import { CronScheduler } from './scheduler.ts'

export const autoBackupJob = '__pbAutoBackup__'

const schedulers = new WeakMap<Engine, CronScheduler>()

/** The jobs of a tenant, not started yet. They end when the engine closes. */
export function cronsOf(engine: Engine): CronScheduler {
  const known = schedulers.get(engine)
  if (known !== undefined) return known
  const crons = new CronScheduler(engine.clock, (job, error) => engine.log.error('cron job failed', { job, error }))
  schedulers.set(engine, crons)
  const add = (id: string, expression: string, run: () => Promise<void>) =>
    crons.add({ id, expression, run: () => whenAllowed(engine, run), wakes: false })
  add('__pbDBOptimize__', '0 0 * * *', () => optimize(engine))
  add('__pbMFACleanup__', '0 * * * *', async () => void (await deleteExpired(engine, mfasName)))
  add('__pbOTPCleanup__', '0 * * * *', async () => void (await deleteExpired(engine, otpsName)))
  add('__pbLogsCleanup__', '0 */6 * * *', () => logsOf(engine).deleteOld(engine.settings.logs.maxDays, null))
  const setBackupJob = () => {
    const expression = engine.settings.backups.cron
    const run = () => whenAllowed(engine, () => runAutoBackup(engine))
    if (expression === '' || !crons.add({ id: autoBackupJob, expression, run, wakes: true }))
      crons.remove(autoBackupJob)
  }
  setBackupJob()
  let logs = engine.settings.logs
  const forget = engine.settingsStore.onChange((settings) => {
    setBackupJob()
    const { maxDays, minLevel } = settings.logs
    if (maxDays === logs.maxDays && minLevel === logs.minLevel) return
    logs = settings.logs
    logsOf(engine)
      .deleteOld(maxDays, minLevel)
      .catch((error: unknown) => engine.log.warn('old logs not deleted', { error }))
  })
  engine.onClose(async () => {
    forget()
    await crons.stop()
  })
  return crons
}

/** A tenant that may be somebody else's by now (no store, no control plane) runs no jobs: its gate throws. */
async function whenAllowed(engine: Engine, run: () => Promise<void>): Promise<void> {
  await engine.gate.admit()
  await engine.gate.pass()
  await run()
}

/** Statistics for the query planner. Checkpoints are SQLite's own matter here, or replication's in a fleet. */
async function optimize(engine: Engine): Promise<void> {
  await engine.data.transaction(() => engine.data.exec('PRAGMA optimize'))
  await engine.aux.transaction(() => engine.aux.exec('PRAGMA optimize'))
}
