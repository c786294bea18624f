// `tenant orphans|orphan-get|orphan-remove`: commits that another owner overtook.

import { mkdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { orphanFiles } from '../ipc/messages/orphans.ts'
import { ConfigError } from '../lib/errors.ts'
import { CliError } from './cli-error.ts'
import { addClientFlags, clientOf } from './client.ts'
import { exitFailed } from './exit-codes.ts'
import { print, renderTable } from './output.ts'

interface OrphanBody {
  readonly node: string
  readonly name: string
  readonly tenant: string
  readonly taken: string
  readonly files: readonly { readonly name: string; readonly sizeBytes: number }[]
}

const pathOf = (node: string, name: string) => `/api/cp/orphans/${encodeURIComponent(node)}/${encodeURIComponent(name)}`

async function listAll(client: ReturnType<typeof clientOf>) {
  const page = await client.request<{ items: readonly OrphanBody[]; nodesMissing: readonly string[] }>(
    'GET',
    '/api/cp/orphans?perPage=1000',
  )
  return { items: page.items, nodesMissing: page.nodesMissing }
}

export function registerOrphans(tenant: Command): void {
  const list = tenant
    .command('orphans')
    .description('list commits that a later owner overtook: each a data.db with its WAL, on the node that had it')
  addClientFlags(list).action(async (options: { json?: true }) => {
    const found = await listAll(clientOf(list))
    print(found, options.json === true, ({ items, nodesMissing }) => {
      const table = renderTable(items, [
        { title: 'node', text: (row) => row.node },
        { title: 'name', text: (row) => row.name },
        { title: 'tenant', text: (row) => row.tenant },
        { title: 'taken', text: (row) => row.taken },
        { title: 'bytes', text: (row) => String(row.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)) },
      ])
      return nodesMissing.length === 0 ? table : `${table}\nno answer from: ${nodesMissing.join(', ')}`
    })
  })

  const get = tenant
    .command('orphan-get')
    .description('download an orphan, to be looked into with sqlite3')
    .argument('<node>')
    .argument('<name>')
    .requiredOption('-o, --output <DIR>', 'a new folder for its files')
  addClientFlags(get).action(async (node: string, name: string, options: { output: string; json?: true }) => {
    const client = clientOf(get)
    const orphan = (await listAll(client)).items.find((each) => each.node === node && each.name === name)
    if (orphan === undefined) throw new ConfigError(`node ${node} lists no orphan ${name}`)
    const folder = resolve(options.output)
    mkdirSync(folder, { mode: 0o700 })
    for (const file of orphanFiles) {
      const listed = orphan.files.find((each) => each.name === file)
      if (listed === undefined) continue
      const response = await client.download(`${pathOf(node, name)}/${file}`)
      await using target = await open(join(folder, file), 'wx', 0o600)
      let bytes = 0
      for await (const piece of response)
        for (let at = 0; at < piece.length; ) {
          const { bytesWritten } = await target.write(piece, at)
          at += bytesWritten
          bytes += bytesWritten
        }
      if (bytes !== listed.sizeBytes)
        throw new CliError(`${file} of ${name} came with ${bytes} of ${listed.sizeBytes} bytes`, exitFailed)
    }
    print(
      { ...orphan, folder },
      options.json === true,
      () => `${orphan.files.length} files of ${name} are in ${folder}`,
    )
  })

  const remove = tenant
    .command('orphan-remove')
    .description('remove an orphan from its node; what it holds is then nowhere')
    .argument('<node>')
    .argument('<name>')
    .option('--yes', 'do not ask')
  addClientFlags(remove).action(async (node: string, name: string, options: { yes?: true; json?: true }) => {
    if (!options.yes) throw new ConfigError(`what only ${name} holds would be gone: repeat the command with --yes`)
    await clientOf(remove).request('DELETE', pathOf(node, name))
    print({ removed: name }, options.json === true, () => `removed ${name}`)
  })
}
