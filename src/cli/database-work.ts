// The hidden verb of a process that copies, checks or replaces one large database; an engine starts it.

import type { Command } from 'commander'

export function registerDatabaseWork(program: Command, setExitCode: (code: number) => void): void {
  program.command('database-work <work>', { hidden: true }).action(async (work: string) => {
    const { runDatabaseWork } = await import('../node/engine/db/database-work.ts')
    setExitCode(runDatabaseWork(work))
  })
}
