// The hidden verb of a process that runs a superuser's statements on one large database; an engine starts it.

import type { Command } from 'commander'

export function registerSqlScript(program: Command): void {
  program.command('sql-script <path>', { hidden: true }).action(async (path: string) => {
    const { runScriptProcess } = await import('../node/engine/db/script-process.ts')
    runScriptProcess(path)
  })
}
