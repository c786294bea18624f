// The hidden verb of a reader process; an engine starts it for queries that may run long.

import type { Command } from 'commander'

export function registerReader(program: Command): void {
  program.command('reader', { hidden: true }).action(async () => {
    const { runReader } = await import('../node/engine/db/reader-child.ts')
    await runReader()
  })
}
