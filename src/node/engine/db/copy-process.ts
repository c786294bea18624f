// A consistent copy of an open database. SQLite copies it in one statement, during which JavaScript stands still, so a
// large one is copied by a process of its own: a neighbour's request must not wait for a backup.

import { Database as Sqlite } from 'bun:sqlite'
import { stat } from 'node:fs/promises'
import { AppError } from '../../../lib/errors.ts'
import { selfCommand } from '../../../lib/self-command.ts'
import type { Database } from './database.ts'

/** Copied in place, bytes: some 20 ms. Above, starting a process costs less than the pause. */
const inPlaceBytesMax = 4 * 1024 * 1024

/** The copy was not made; what is there of it is of no use. */
export class CopyError extends AppError {
  readonly code = 'database_copy'
}

/**
 * Writes a compacted copy of what is committed to a new file at `target`.
 * @param alwaysApart use a process whatever the size.
 */
export async function copyDatabase(database: Database, target: string, alwaysApart = false): Promise<void> {
  const { size } = await stat(database.path)
  const wal = await stat(database.walPath).catch(() => null) // none yet, or none any more
  if (!alwaysApart && size + (wal?.size ?? 0) <= inPlaceBytesMax) return database.vacuumInto(target)
  const child = Bun.spawn(selfCommand(['copy-database', database.path, target]), {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  })
  const words = await new Response(child.stderr).text()
  if ((await child.exited) !== 0) throw new CopyError(`${database.path} was not copied: ${words.trim().slice(-500)}`)
}

/** What the process does. The owner of the database has it open meanwhile, so this connection never checkpoints. */
export function copyDatabaseFile(path: string, target: string): void {
  const sqlite = new Sqlite(path, { readonly: true })
  try {
    sqlite.run('VACUUM INTO ?', [target])
  } finally {
    sqlite.close()
  }
}
