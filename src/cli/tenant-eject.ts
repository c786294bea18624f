// `tenant eject`: how official Litestream takes the databases of a tenant out of the store, without us.

import { resolve } from 'node:path'
import type { Command } from 'commander'
import { systemClock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'
import { addClientFlags, clientOf } from './client.ts'
import { momentOf } from './moment.ts'
import { followOperation, type OperationBody } from './operation.ts'
import { print } from './output.ts'

interface EjectBody {
  readonly tenant: string
  readonly environment: readonly string[]
  readonly databases: readonly { readonly name: string; readonly url: string; readonly restore: string }[]
  readonly config: string
  readonly restoreAt: readonly string[]
  readonly files: string
}

interface EjectReportBody {
  readonly databases: readonly { readonly name: string; readonly txid: number; readonly at: string }[]
  readonly isHandedOver: boolean
}

interface EjectOptions {
  readonly directory?: string
  readonly at?: string
  readonly handOver?: true
  readonly yes?: true
  readonly json?: true
}

export function registerEject(tenant: Command): void {
  const verb = tenant
    .command('eject')
    .description('print the commands by which official Litestream restores the databases of a tenant, without us')
    .argument('<id|slug>')
    .option('--directory <DIR>', 'where the commands put the databases; default: ./ID|SLUG-data')
    .option(
      '--at <TIME>',
      'for the state of a moment: a time such as 2026-01-31T12:00:00Z, or how long ago: 15m, 2h, 3d',
    )
    .option(
      '--hand-over',
      'stop the tenant and leave its histories so that official litestream replicate goes on with them',
    )
    .option('--yes', 'do not ask')
  addClientFlags(verb).action(async (reference: string, options: EjectOptions) => {
    if (options.handOver && !options.yes)
      throw new ConfigError(`--hand-over stops ${reference} until it is taken back: repeat the command with --yes`)
    const client = clientOf(verb)
    const path = `/api/cp/tenants/${encodeURIComponent(reference)}`
    if (options.handOver) await client.request('PATCH', path, { status: 'suspended' })
    const { operation, ...commands } = await client.request<EjectBody & { operation: OperationBody<EjectReportBody> }>(
      'POST',
      `${path}/eject`,
      {
        ...momentOf(options.at === undefined ? {} : { at: options.at }, systemClock),
        directory: resolve(options.directory ?? `${reference}-data`),
        ...(options.handOver && { handOver: true }),
      },
    )
    const report = await followOperation(client, operation, systemClock)
    const positions = new Map(report.databases.map((each) => [each.name, each]))
    const databases = commands.databases.map((each) => ({ ...each, ...positions.get(each.name) }))
    const result = { ...commands, databases, isHandedOver: report.isHandedOver }
    print(result, options.json === true, () => describe(commands, report, options))
  })
}

export function registerTakeBack(tenant: Command): void {
  const verb = tenant
    .command('take-back')
    .description('serve a tenant again that was handed over, with what the other program wrote to its histories')
    .argument('<id|slug>')
    .option('--other-has-stopped', 'the other program has shipped all it had and writes no more')
  addClientFlags(verb).action(async (reference: string, options: { otherHasStopped?: true; json?: true }) => {
    if (!options.otherHasStopped)
      throw new ConfigError(
        `two programs that write the histories of ${reference} would lose writes: stop the other one, then repeat with --other-has-stopped`,
      )
    const taken = await clientOf(verb).request<{ slug: string; status: string }>(
      'POST',
      `/api/cp/tenants/${encodeURIComponent(reference)}/take-back`,
      { otherHasStopped: true },
    )
    print(taken, options.json === true, ({ slug, status }) => `${slug} is ${status}`)
  })
}

/** A script: what is not a command is a comment. */
function describe(commands: EjectBody, report: EjectReportBody, options: EjectOptions): string {
  const lines = report.databases.map(({ name, txid, at }) => `# ${name}: TXID ${txid}, ${at}`)
  lines.push('# needs official Litestream v0.5.16 or later; no target may exist yet')
  lines.push(`# uploaded files, which belong into storage/: ${commands.files}`)
  for (const name of commands.environment) lines.push(`export ${name}=… # the key of the store`)
  const config = [`cat > litestream.yml <<'END'`, commands.config.trimEnd(), 'END']
  if (options.at === undefined) lines.push(...commands.databases.map(({ restore }) => restore))
  else lines.push(...config, ...commands.restoreAt)
  if (report.isHandedOver) {
    if (options.at === undefined) lines.push(...config)
    lines.push(
      '# the tenant is suspended here until it is taken back: from now on only this may write to its histories',
    )
    lines.push('litestream replicate -config litestream.yml')
  }
  return lines.join('\n')
}
