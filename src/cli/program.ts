// The verbs, and how their errors reach a person: one line on standard error that names the thing.

import { Command, CommanderError } from 'commander'
import { reachOwnHostsDirectly } from '../lib/config/direct-hosts.ts'
import { AppError, ConfigError, errorCode, errorMessage } from '../lib/errors.ts'
import { version } from '../version.ts'
import { registerAdmin } from './admin.ts'
import { registerAudit } from './audit.ts'
import { CliError } from './cli-error.ts'
import { registerDatabaseWork } from './database-work.ts'
import { exitFailed, exitOk, exitUsage } from './exit-codes.ts'
import { registerJob } from './job.ts'
import { registerNode } from './node.ts'
import { registerReader } from './reader.ts'
import { registerServe } from './serve.ts'
import { registerSqlScript } from './sql-script.ts'
import { registerSuperuser } from './superuser.ts'
import { registerSweep } from './sweep.ts'
import { registerTenant } from './tenant.ts'
import { registerUpkeep } from './upkeep.ts'
import { registerWorker } from './worker.ts'

/** Runs one command line; returns the exit code. Never throws. */
export async function runProgram(args: readonly string[]): Promise<number> {
  let code = exitOk
  reachOwnHostsDirectly(process.env)
  const program = new Command('pocketfleet')
    .description(
      'Hosts very many PocketBase-compatible backends: control plane, tenant nodes and gateways in one binary.',
    )
    .version(version, '--version', 'print the version')
    .helpCommand('help [verb]', 'show help for a verb')
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(`pocketfleet: ${oneLine(text)}\n`) })
  const setExitCode = (next: number) => {
    code = next
  }
  registerServe(program, setExitCode)
  registerTenant(program)
  registerSuperuser(program)
  registerNode(program)
  registerAdmin(program)
  registerAudit(program)
  registerSweep(program)
  registerWorker(program, setExitCode)
  registerReader(program)
  registerSqlScript(program)
  registerJob(program)
  registerUpkeep(program)
  registerDatabaseWork(program, setExitCode)
  program
    .command('version')
    .description('print the version')
    .action(() => console.log(version))
  for (const command of program.commands) inheritBehaviour(command, program)
  try {
    await program.parseAsync(splitAssignments(args), { from: 'user' })
    return code
  } catch (error) {
    return report(error)
  }
}

/** Flags that PocketBase spells otherwise: a command line that starts PocketBase should start us. */
const pocketBaseFlags: Readonly<Record<string, string>> = {
  '--encryptionEnv': '--encryption-env',
  '--https': '--https-addr',
  '--queryTimeout': '--query-timeout',
  '--publicDir': '--public-dir',
  '--indexFallback': '--index-fallback',
}

/** `--flag=value` as two arguments, or an unknown flag would be compared with its value and get no suggestion. */
function splitAssignments(args: readonly string[]): string[] {
  const end = args.indexOf('--')
  return args.flatMap((arg, index) => {
    if (end >= 0 && index > end) return [arg]
    const match = /^(--[a-zA-Z0-9-]+)=(.*)$/s.exec(arg)
    const flag = match?.[1] ?? arg
    return match ? [pocketBaseFlags[flag] ?? flag, match[2]!] : [pocketBaseFlags[flag] ?? flag]
  })
}

/** Sub-commands made by `.command()` copy these settings only from their parent at creation; set them everywhere. */
function inheritBehaviour(command: Command, parent: Command): void {
  command.copyInheritedSettings(parent)
  for (const child of command.commands) inheritBehaviour(child, command)
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitOk : exitUsage
  if (error instanceof CliError) {
    process.stderr.write(`pocketfleet: ${error.message}\n`)
    return error.exitCode
  }
  if (error instanceof ConfigError) {
    process.stderr.write(`pocketfleet: ${oneLine(error.message)}\n`)
    return exitUsage
  }
  if (error instanceof AppError || errorCode(error) !== undefined) {
    process.stderr.write(`pocketfleet: ${oneLine(errorMessage(error))}\n`)
    return exitFailed
  }
  // Our own mistake: the stack is what a maintainer needs. `stack` alone, for minified sources fill the screen.
  process.stderr.write(`pocketfleet: internal error: ${error instanceof Error ? error.stack : String(error)}\n`)
  return exitFailed
}

function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
}
