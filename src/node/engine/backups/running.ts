// At most one backup or restore of a tenant runs at a time. PocketBase: core/base_backup.go, @activeBackup.

import { AppError } from '../../../lib/errors.ts'
import type { Engine } from '../engine.ts'

/** The key of the backup that is made, restored or exported now. */
const active = new WeakMap<Engine, string>()

/** Another backup or restore runs already. */
export class BackupBusyError extends AppError {
  readonly code = 'backup_busy'
}

export function isBackupRunning(engine: Engine): boolean {
  return active.has(engine)
}

export function runningBackup(engine: Engine): string | null {
  return active.get(engine) ?? null
}

/** Runs `body` alone. Throws BackupBusyError at once when another one runs. */
export async function whileBackupRuns<T>(engine: Engine, key: string, body: () => Promise<T>): Promise<T> {
  if (active.has(engine)) throw new BackupBusyError('another backup or restore runs already')
  active.set(engine, key)
  try {
    return await body()
  } finally {
    active.delete(engine)
  }
}
