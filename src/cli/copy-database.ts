// The hidden verb of a process that copies one database; an engine starts it for a backup.

import type { Command } from 'commander'

export function registerCopyDatabase(program: Command): void {
  program.command('copy-database <from> <to>', { hidden: true }).action(async (from: string, to: string) => {
    const { copyDatabaseFile } = await import('../node/engine/db/copy-process.ts')
    copyDatabaseFile(from, to)
  })
}
