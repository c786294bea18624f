// argv → verb. Owns the process: exit codes and last-chance errors; signals belong to `cli/lifetime.ts`.

import { runProgram } from './cli/program.ts'

process.exitCode = await runProgram(process.argv.slice(2))
