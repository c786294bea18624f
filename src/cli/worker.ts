// The hidden verb of an engine worker process; its supervisor starts it and speaks to it over standard input.

import type { Command } from 'commander'

export function registerWorker(program: Command, setExitCode: (code: number) => void): void {
  program.command('worker', { hidden: true }).action(async () => {
    const { runWorker } = await import('../node/worker.ts')
    setExitCode(await runWorker())
  })
}
