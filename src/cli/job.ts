// The hidden verb of a job's process; a worker starts it for work on a tenant's history.

import type { Command } from 'commander'

export function registerJob(program: Command): void {
  program.command('job', { hidden: true }).action(async () => {
    const { runJobProcess } = await import('../node/tenants/job-process.ts')
    await runJobProcess()
  })
}
