// The hidden verb of an upkeep process; a worker starts it to merge and delete files of histories.

import type { Command } from 'commander'

export function registerUpkeep(program: Command): void {
  program.command('upkeep', { hidden: true }).action(async () => {
    const { runUpkeep } = await import('../replicate/upkeep-process.ts')
    await runUpkeep()
  })
}
