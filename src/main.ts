// argv → verb. Owns the process: exit codes and last-chance errors; signals belong to `cli/lifetime.ts`.

import { runProgram } from './cli/program.ts'

const code = await runProgram(process.argv.slice(2))
// A child that failed must end at once: its parent keeps its standard input open, which would hold the event loop.
if (code !== 0) process.exit(code)
