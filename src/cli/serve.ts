// `serve` and `dev`: from flags to a running mode.

import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { fleetOptions, type Mode } from '../lib/config/fleet-options.ts'
import { readSmallFile, resolveOptions } from '../lib/config/resolve.ts'
import { ConfigError } from '../lib/errors.ts'
import { readLifeLine } from '../lib/life-line.ts'
import { createLogger } from '../lib/obs/log.ts'
import { type Parent, type Running, serveUntilStopped, stopLine } from './lifetime.ts'
import type { ModeInput } from './mode.ts'
import { addOptionFlags, typedFlags } from './option-flags.ts'

export function registerServe(program: Command, setExitCode: (code: number) => void): void {
  const serve = program
    .command('serve')
    .description(
      'run one mode: a whole fleet (all-in-one), one of its parts, or one tenant on one directory (standalone)',
    )
    .argument('[domains...]', 'standalone: domains to answer for')
    .option('--config <FILE>', 'JSON file of options by flag name; - reads one line from standard input [CONFIG_FILE]')
  addOptionFlags(serve, fleetOptions).action(async (domains: string[]) => {
    setExitCode(await runServe(serve, domains))
  })
  const dev = program
    .command('dev')
    .description('run a whole fleet for development: all-in-one, text logs, mails without SMTP go to the log')
    .option('--config <FILE>', 'JSON file of options by flag name [CONFIG_FILE]')
  addOptionFlags(dev, fleetOptions).action(async () => {
    const { runDev } = await import('./dev.ts')
    setExitCode(await runDev(typedFlags(dev)))
  })
}

export async function runServe(command: Command, domains: readonly string[]): Promise<number> {
  const { config: configFlag, ...flags } = typedFlags(command)
  const configPath = configFlag ?? process.env['CONFIG_FILE']
  const asked = Promise.withResolvers<string>()
  const lifeLine =
    configPath === '-'
      ? await readLifeLine(undefined, (line) => {
          if (line === stopLine) asked.resolve('asked by the parent')
        })
      : null
  const parent: Parent | null = lifeLine && {
    stop: Promise.race([asked.promise, lifeLine.ended.then(() => 'parent ended')]),
  }
  const file = lifeLine ? lifeLine.config : configPath ? readConfigFile(configPath) : {}
  if (typeof file !== 'object' || file === null || Array.isArray(file))
    throw new ConfigError(`--config: ${configPath} must hold a JSON object of options by flag name`)
  const options = resolveOptions(fleetOptions, {
    flags,
    env: lifeLine ? {} : process.env, // a child is told everything; what its parent inherited must not change it
    file: file as Record<string, unknown>,
    fileName: configPath === '-' ? 'the configuration line' : configPath,
  })
  const mode = options.mode ?? 'all-in-one'
  if (domains.length > 0 && mode !== 'standalone')
    throw new ConfigError(`domains: got ${domains.join(' ')}, allowed only with --mode=standalone`)
  const log = createLogger({
    level: options.logLevel ?? 'info',
    format: options.logFormat ?? (process.stderr.isTTY ? 'text' : 'json'),
    now: systemClock.now,
    fields: { mode },
  })
  const running = await startMode(mode, { options, log, isChild: lifeLine !== null, domains })
  if (lifeLine) console.log(JSON.stringify({ ready: true, banner: running.banner, facts: running.facts ?? {} }))
  else {
    for (const line of running.banner) console.log(line)
    running.later?.then((lines) => {
      for (const line of lines) console.log(line)
    })
  }
  const code = await serveUntilStopped(running, parent, log)
  // Everything is closed; what may still hold the event loop is the life line, which its parent keeps open, or a question
  // to an authority that cannot be taken back.
  process.exit(code)
}

function readConfigFile(path: string): unknown {
  const text = readSmallFile(path, '--config')
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ConfigError(`--config: ${path} is not JSON`, { cause: error })
  }
}

/** Loads only the code of the mode that runs: a standalone server starts without RocksDB or libzmq. */
async function startMode(mode: Mode, input: ModeInput): Promise<Running> {
  switch (mode) {
    case 'standalone':
      return (await import('./modes/standalone.ts')).startStandalone(input)
    case 'control-plane':
      return (await import('./modes/control-plane.ts')).startControlPlane(input)
    case 'tenant-node':
      return (await import('./modes/tenant-node.ts')).startTenantNode(input)
    case 'gateway':
      return (await import('./modes/gateway.ts')).startGateway(input)
    case 'all-in-one':
      return (await import('./modes/all-in-one.ts')).startAllInOne(input)
  }
}
